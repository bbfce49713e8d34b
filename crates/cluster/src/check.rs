//! Whether a Redis server can be used, by what its command INFO says.

use crate::failure::Trouble;

/// The oldest version that has everything that is used.
const OLDEST: (u32, u32) = (6, 2);

/// The value of a field of INFO.
fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| {
        let value = line.strip_prefix(name)?.strip_prefix(':')?;
        Some(value.trim())
    })
}

fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Checks that a server is not a replica. Packets published on one reach only those who are connected to it.
pub(crate) fn check_role(info: &str) -> Result<(), Trouble> {
    match field(info, "role") {
        Some("slave") => Err(Trouble::Replica),
        _ => Ok(()),
    }
}

/// Checks what INFO says about a server. Returns a warning for the operator, if there is reason for one.
pub(crate) fn check(info: &str) -> Result<Option<String>, Trouble> {
    // Valkey says in `redis_version` with which version of Redis it is compatible.
    match field(info, "redis_version") {
        None => return Err(Trouble::NotRedis("INFO does not name a version".into())),
        Some(text) => {
            if version(text).is_none_or(|version| version < OLDEST) {
                return Err(Trouble::TooOld(text.to_owned()));
            }
        }
    }
    if field(info, "loading") == Some("1") {
        return Err(Trouble::Loading);
    }
    if field(info, "redis_mode") == Some("cluster") {
        return Err(Trouble::ClusterMode);
    }
    check_role(info)?;
    let most = field(info, "maxmemory").unwrap_or("0");
    let policy = field(info, "maxmemory_policy").unwrap_or("noeviction");
    Ok((most != "0" && policy != "noeviction").then(|| {
        format!(
            "Redis may remove keys to save memory (maxmemory-policy {policy}): users would appear offline for up \
             to 30 s. Set maxmemory-policy to noeviction, or use a Redis without maxmemory."
        )
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(version: &str, more: &str) -> String {
        format!("# Server\r\nredis_version:{version}\r\nredis_mode:standalone\r\nrole:master\r\n{more}\r\n")
    }

    #[test]
    fn a_server_must_be_new_enough_and_writable() {
        for good in ["6.2.0", "7.0.15", "10.0.1"] {
            assert_eq!(check(&info(good, "maxmemory:0")), Ok(None));
        }
        for old in ["5.0.14", "6.0.16", "nonsense"] {
            assert_eq!(check(&info(old, "")), Err(Trouble::TooOld(old.to_owned())));
        }
        let replica = info("7.0.0", "").replace("master", "slave");
        assert_eq!(check(&replica), Err(Trouble::Replica));
        let cluster = info("7.0.0", "").replace("standalone", "cluster");
        assert_eq!(check(&cluster), Err(Trouble::ClusterMode));
        assert_eq!(check(&info("7.0.0", "loading:1")), Err(Trouble::Loading));
        assert!(matches!(check("HTTP/1.1 400"), Err(Trouble::NotRedis(_))));
    }

    #[test]
    fn eviction_is_worth_a_warning_if_memory_is_limited() {
        let limited = "maxmemory:1000\r\nmaxmemory_policy:allkeys-lru";
        let warning = check(&info("7.0.0", limited)).unwrap().unwrap();
        assert!(
            warning.contains("allkeys-lru") && warning.contains("noeviction"),
            "{warning}"
        );
        let unlimited = limited.replace("1000", "0");
        assert_eq!(check(&info("7.0.0", &unlimited)), Ok(None));
        let kept = limited.replace("allkeys-lru", "noeviction");
        assert_eq!(check(&info("7.0.0", &kept)), Ok(None));
    }
}
