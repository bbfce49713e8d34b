//! The conformance suite on this store, and on this store with planted faults.

use mynah_store_conformance::faults::{Fault, Faulty};
use mynah_store_conformance::{find, for_each_case};

use super::kit::InDirectories;

macro_rules! tests {
    ($($module:ident { $($case:ident)* })*) => {
        $(mod $module {
            $(#[tokio::test]
            async fn $case() {
                mynah_store_conformance::$module::$case(&super::InDirectories).await;
            })*
        })*
    };
}
for_each_case!(tests);

#[test]
fn answers_as_the_plain_model() {
    mynah_store_conformance::model::check(&InDirectories);
}

#[test]
fn every_planted_fault_is_found() {
    let missed = Fault::ALL.iter().filter(|fault| {
        let faulty = Faulty {
            stores: &InDirectories,
            fault: **fault,
        };
        let found = find(Box::leak(Box::new(faulty)));
        println!("{fault:?}: {found:?}");
        found.is_none()
    });
    assert_eq!(missed.collect::<Vec<_>>(), Vec::<&Fault>::new());
}
