//! The teams of a scenario. They are created by the HTTP API before any client connects.

use serde_json::{Value, json};

use super::Setting;
use crate::api;
use crate::run::Parameters;

/// The maximum number of members in one call.
const PER_CALL: usize = 10_000;

/// Creates a team with exactly these members. One call is enough for most teams. Members that are added by a
/// further call are announced in the team, and the announcement is stored. A large team that already has
/// exactly these members is therefore not changed.
pub(crate) fn make(
    plan: &Parameters,
    setting: &Setting,
    team: &str,
    members: &[String],
) -> anyhow::Result<()> {
    let path = format!("/v1/teams/{team}");
    let call = |method, path: &str, body| api::call(plan.target(), &setting.api_key, method, path, &body);
    if members.len() > PER_CALL && call("GET", &path, Value::Null).is_ok_and(|team| has(&team, members)) {
        return Ok(());
    }
    let (first, more) = members.split_at(members.len().min(PER_CALL));
    call("PUT", &path, json!({"name": "bench", "members": first}))?;
    for uids in more.chunks(PER_CALL) {
        call("POST", &format!("{path}/members"), json!({"uids": uids}))?;
    }
    Ok(())
}

/// Whether the API's response shows exactly these members.
fn has(team: &Value, members: &[String]) -> bool {
    let mut wanted: Vec<_> = members.iter().map(String::as_str).collect();
    wanted.sort_unstable();
    team["members"]
        .as_array()
        .is_some_and(|shown| shown.iter().map(Value::as_str).eq(wanted.into_iter().map(Some)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_members_are_recognised_in_any_order() {
        let members = ["b".to_owned(), "a".to_owned()];
        assert!(has(&json!({"members": ["a", "b"]}), &members));
        for other in [
            json!({"members": ["a"]}),
            json!({"members": ["a", "c"]}),
            json!({}),
        ] {
            assert!(!has(&other, &members), "{other}");
        }
    }
}
