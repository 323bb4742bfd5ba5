//! Kinds of I/O, priority classes, and small tables and sets indexed by class.

use std::ops::{Index, IndexMut};

/// What a request does to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Bytes come from the device.
    Read,
    /// Bytes go to the device.
    Write,
    /// The device may forget the range.
    Trim,
}

/// Priority class of a request, best first. The order of the variants is the order in which
/// the queue offers them a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Class {
    /// Somebody waits for this read.
    SyncRead,
    /// Somebody waits for this write.
    SyncWrite,
    /// Prefetch.
    AsyncRead,
    /// Write-back of dirty data; its limit follows [`Load`](crate::Load).
    AsyncWrite,
    /// Reads of a scrub or resilver.
    Scrub,
    /// Evacuation of a device that is being taken out.
    Removal,
    /// First writing of a new device's free space.
    Initializing,
    /// Discards.
    Trim,
    /// Sequential reconstruction of a replaced device.
    Rebuild,
}

/// Order in which the requests of one class leave the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// First come, first served.
    Arrival,
    /// Elevator: ascending offsets from the place of the last issued I/O, then around.
    Offset,
}

impl Class {
    /// Number of classes.
    pub const COUNT: usize = 9;

    /// Every class, best first.
    pub const ALL: [Self; Self::COUNT] = [
        Self::SyncRead,
        Self::SyncWrite,
        Self::AsyncRead,
        Self::AsyncWrite,
        Self::Scrub,
        Self::Removal,
        Self::Initializing,
        Self::Trim,
        Self::Rebuild,
    ];

    /// How requests of this class are ordered among themselves: the synchronous classes and
    /// trims by arrival, all others by offset.
    pub const fn order(self) -> Order {
        match self {
            Self::SyncRead | Self::SyncWrite | Self::Trim => Order::Arrival,
            Self::AsyncRead
            | Self::AsyncWrite
            | Self::Scrub
            | Self::Removal
            | Self::Initializing
            | Self::Rebuild => Order::Offset,
        }
    }

    /// True for work that no person waits for and that yields to all other classes
    /// (spec 4.8): scrub, removal, initializing, rebuild.
    pub const fn is_background(self) -> bool {
        matches!(self, Self::Scrub | Self::Removal | Self::Initializing | Self::Rebuild)
    }

    /// True for I/O that somebody waits for.
    pub(crate) const fn is_sync(self) -> bool {
        matches!(self, Self::SyncRead | Self::SyncWrite)
    }

    /// The class nearest to `self` that an I/O of this kind may have (spec 4.2): a read in a
    /// class that holds no reads becomes [`Class::AsyncRead`], a write likewise
    /// [`Class::AsyncWrite`], a trim is always [`Class::Trim`].
    ///
    /// ```
    /// use vdev_queue::{Class, Kind};
    /// // The repair write of a scrub is an asynchronous write.
    /// assert_eq!(Class::Scrub.fit(Kind::Write), Class::AsyncWrite);
    /// assert_eq!(Class::Scrub.fit(Kind::Read), Class::Scrub);
    /// ```
    pub const fn fit(self, kind: Kind) -> Self {
        match kind {
            Kind::Trim => Self::Trim,
            Kind::Read => match self {
                Self::SyncWrite | Self::AsyncWrite | Self::Trim => Self::AsyncRead,
                _ => self,
            },
            Kind::Write => match self {
                Self::SyncRead | Self::AsyncRead | Self::Scrub | Self::Trim => Self::AsyncWrite,
                _ => self,
            },
        }
    }

    /// True if the class may have more than its share of a device that nobody else uses. Not
    /// asynchronous writes, whose limit says that they are not wanted faster, nor trims, which
    /// many devices stop for.
    pub(crate) const fn may_grow(self) -> bool {
        !matches!(self, Self::AsyncWrite | Self::Trim)
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// One value for each [`Class`]; indexing by class cannot be out of range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerClass<V>(pub [V; Class::COUNT]);

impl<V> PerClass<V> {
    /// Makes the table by asking `value` for each class, best first.
    pub fn from_fn(mut value: impl FnMut(Class) -> V) -> Self {
        Self(Class::ALL.map(&mut value))
    }

    /// Each class with its value, best first.
    pub fn iter(&self) -> impl Iterator<Item = (Class, &V)> {
        Class::ALL.into_iter().zip(&self.0)
    }
}

impl<V> Index<Class> for PerClass<V> {
    type Output = V;

    fn index(&self, class: Class) -> &V {
        &self.0[class as usize]
    }
}

impl<V> IndexMut<Class> for PerClass<V> {
    fn index_mut(&mut self, class: Class) -> &mut V {
        &mut self.0[class as usize]
    }
}

/// A set of classes in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClassSet(u16);

impl ClassSet {
    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) const fn insert(&mut self, class: Class) {
        self.0 |= class.bit();
    }

    pub(crate) const fn remove(&mut self, class: Class) {
        self.0 &= !class.bit();
    }

    /// True if one of them is not a background class.
    pub(crate) fn has_interactive(self) -> bool {
        self.find(|class| !class.is_background()).is_some()
    }

    /// The members, best first.
    pub(crate) fn iter(self) -> impl Iterator<Item = Class> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let class = *Class::ALL.get(left.trailing_zeros() as usize)?;
            left &= left - 1;
            Some(class)
        })
    }

    /// The first member of which `wanted` is true.
    pub(crate) fn find(self, wanted: impl Fn(Class) -> bool) -> Option<Class> {
        self.iter().find(|&class| wanted(class))
    }

    /// The same, beginning with the member after `last` and going around.
    pub(crate) fn find_after(self, last: Class, wanted: impl Fn(Class) -> bool) -> Option<Class> {
        // `last` and everything before it come in the second half.
        let first_half = !((last.bit() << 1) - 1);
        Self(self.0 & first_half).find(&wanted).or_else(|| Self(self.0 & !first_half).find(wanted))
    }
}
