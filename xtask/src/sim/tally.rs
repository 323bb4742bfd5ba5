//! What happened, for the closing line.

use std::fmt;

macro_rules! tally {
    ($($field:ident: $words:literal),+ $(,)?) => {
        /// What happened, for the closing line.
        #[derive(Clone, Debug, Default)]
        pub(super) struct Tally {
            $(pub(super) $field: u64,)+
        }

        impl Tally {
            pub(super) fn add(&mut self, other: &Self) {
                $(self.$field += other.$field;)+
            }
        }

        impl fmt::Display for Tally {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let counts = [$((self.$field, $words)),+];
                let words: Vec<_> = counts.iter().map(|(n, what)| format!("{n} {what}")).collect();
                f.write_str(&words.join(", "))
            }
        }
    };
}

tally! {
    writes: "writes",
    gangs: "gangs",
    over: "writes over a block",
    kept: "blocks kept",
    in_place: "written in place",
    committed: "committed",
    raw: "raw",
    trees: "trees",
    reads: "reads",
    healed: "copies healed",
    frees: "frees",
    claims: "claims",
    flushes: "flushes",
    trims: "trims",
    hostile: "hostile pointers",
    outages: "outages",
    stalls: "stalls",
    given_up: "requests given up",
    suspended: "suspended",
    cancelled: "cancelled",
    injected: "injected faults and delays",
    missed: "leaves that missed a write",
    compared: "blocks compared between the leaves of a mirror",
    power_cuts: "power cuts",
    closed: "closed at once",
    errors: "errors reported",
    steps: "machine steps",
}
