//! The long-running thread.

use std::sync::mpsc;
use std::time::Duration;

use crate::common::{FOREVER, thread_name};
use taskq::{Service, ServicePanicked, Woken};

#[test]
fn it_runs_under_its_name_until_it_is_dropped() {
    let (sender, receiver) = mpsc::channel();
    let service = Service::spawn("zio-reaper-of-a-long-name", move |stop| {
        assert!(!stop.is_set());
        sender.send(thread_name()).unwrap();
        assert_eq!(stop.wait(), Woken::Stop);
        assert_eq!(stop.wait_timeout(Duration::ZERO), Woken::Stop);
        assert!(stop.is_set());
        sender.send("stopped".to_owned()).unwrap();
    })
    .unwrap();
    assert_eq!(receiver.recv_timeout(FOREVER).unwrap(), "zio-reaper-of-a");
    assert!(!service.is_finished());
    drop(service);
    assert_eq!(receiver.try_recv().unwrap(), "stopped", "drop waits for the body");
}

#[test]
fn notifications_before_a_wait_count_as_one() {
    let (sender, receiver) = mpsc::channel();
    let (go, gone) = mpsc::channel();
    let service = Service::spawn("work", move |stop| {
        gone.recv().unwrap();
        loop {
            let woken = stop.wait_timeout(Duration::from_millis(1));
            sender.send(woken).unwrap();
            if woken != Woken::Notified {
                break;
            }
        }
    })
    .unwrap();
    service.notify();
    service.flag().notify();
    service.notify();
    go.send(()).unwrap();
    assert_eq!(receiver.recv_timeout(FOREVER), Ok(Woken::Notified));
    assert_eq!(receiver.recv_timeout(FOREVER), Ok(Woken::TimedOut));
    assert_eq!(service.join(), Ok(()));
}

#[test]
fn a_sleeping_body_wakes_for_each_notification() {
    let (sender, receiver) = mpsc::channel();
    let service = Service::spawn("work", move |stop| {
        while stop.wait() == Woken::Notified {
            sender.send(()).unwrap();
        }
    })
    .unwrap();
    for _ in 0..100 {
        service.notify();
        receiver.recv_timeout(FOREVER).unwrap();
    }
}

#[test]
fn a_body_that_waits_elsewhere_is_interrupted() {
    // Its own way of waiting: a channel, as it might be a device.
    let (device, events) = mpsc::channel();
    let (sender, receiver) = mpsc::channel();
    // A stop that comes after the body has gone finds nobody.
    let interrupt = move || {
        let _ = device.send(());
    };
    let service = Service::spawn_with("reaper", interrupt, move |stop| {
        while events.recv().is_ok() {
            let stopped = stop.is_set();
            sender.send(stopped).unwrap();
            if stopped {
                break;
            }
        }
    })
    .unwrap();
    service.notify();
    assert_eq!(receiver.recv_timeout(FOREVER), Ok(false));
    assert_eq!(service.join(), Ok(()));
    assert_eq!(receiver.recv_timeout(FOREVER), Ok(true));
}

#[test]
fn a_panic_is_the_result_of_join() {
    let service = Service::spawn("work", |_| panic!("this is expected")).unwrap();
    assert_eq!(service.join(), Err(ServicePanicked));
}
