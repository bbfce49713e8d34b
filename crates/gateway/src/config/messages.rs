//! `[send]` and `[teams]`

use super::section::section;

section! {
    /// Messages that are sent by the API.
    pub struct Send {
        /// The sender of pair messages (kinds 3, 7, 8, 9 ...) of the API that do not name a sender.
        pub system_uid: String = "system".into();
    }
}

impl Send {
    pub(super) fn check(&self, problems: &mut Vec<String>) {
        if let Err(why) = crate::ids::Uid::new(&self.system_uid) {
            problems.push(format!("send.system_uid {why}"));
        }
    }
}

section! {
    /// Teams.
    pub struct Teams {
        /// Whether new members see messages that were sent before they joined.
        pub history_for_new_members: bool = false;
    }
}
