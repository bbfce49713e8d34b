//! The modules that each module may use, and code that may appear in certain files only.

use std::collections::{BTreeMap, BTreeSet};

use crate::{document, files, tidy};

/// The modules of the gateway in their order, and the earlier modules that each of them may use.
const MAY_USE: &[(&str, &[&str])] = &[
    ("sync", &[]),
    ("text", &[]),
    ("time", &[]),
    // The store and its ids are crates of their own, which know neither connections nor kinds nor HTTP.
    ("ids", &[]),
    ("store", &[]),
    ("trust", &["text"]),
    ("random", &[]),
    ("fair", &[]),
    ("caller", &["fair"]),
    ("config", &["ids", "text"]),
    ("log", &["config"]),
    ("metrics", &["config"]),
    ("claims", &["ids"]),
    ("kinds", &["config", "ids"]),
    ("clock", &["time"]),
    // What this node knows of the others. It knows no connections.
    ("cluster", &["clock", "config", "ids", "trust"]),
    ("outbound", &["config", "text", "time", "trust"]),
    ("target", &["clock", "metrics"]),
    ("rate", &["clock", "config", "ids", "sync"]),
    ("keys", &["clock", "config", "store", "text", "time"]),
    ("reject", &["store"]),
    ("frame", &["ids", "kinds", "store", "text", "time"]),
    ("directory", &["claims", "ids", "sync"]),
    ("revocations", &["claims", "directory", "ids", "store", "time"]),
    (
        "session",
        &["directory", "frame", "ids", "kinds", "rate", "reject"],
    ),
    ("order", &["directory", "ids", "store", "time"]),
    // What an embedding program provides. Other modules decide when it is called.
    ("embed", &["directory", "ids", "kinds", "reject", "session"]),
    // The registry says who is connected. Only delivery may send through it (see `SEEN_ONLY_IN`).
    (
        "push",
        &[
            "clock",
            "cluster",
            "config",
            "directory",
            "ids",
            "metrics",
            "outbound",
            "random",
            "session",
            "store",
            "target",
            "time",
        ],
    ),
    // Authentication is independent of connections.
    (
        "auth",
        &[
            "claims", "clock", "config", "fair", "ids", "metrics", "outbound", "random", "reject", "target",
            "text",
        ],
    ),
    (
        "delivery",
        &[
            "clock",
            "cluster",
            "directory",
            "frame",
            "ids",
            "kinds",
            "metrics",
            "order",
            "push",
            "reject",
            "session",
            "store",
        ],
    ),
    (
        "dispatch",
        &[
            "caller",
            "auth",
            "claims",
            "clock",
            "cluster",
            "config",
            "delivery",
            "directory",
            "embed",
            "fair",
            "frame",
            "ids",
            "kinds",
            "metrics",
            "order",
            "push",
            "rate",
            "reject",
            "revocations",
            "session",
            "store",
            "time",
        ],
    ),
    // What a client sends goes to dispatch only, and neither to the store nor to delivery.
    (
        "entrance",
        &[
            "clock",
            "config",
            "directory",
            "dispatch",
            "embed",
            "frame",
            "metrics",
            "rate",
            "reject",
            "session",
        ],
    ),
    (
        "gateway",
        &[
            "caller",
            "auth",
            "cluster",
            "directory",
            "dispatch",
            "embed",
            "entrance",
            "ids",
            "order",
            "push",
            "rate",
            "reject",
            "session",
            "store",
            "time",
        ],
    ),
    (
        "builder",
        &[
            "auth",
            "config",
            "directory",
            "dispatch",
            "embed",
            "entrance",
            "gateway",
            "ids",
            "metrics",
            "push",
            "store",
        ],
    ),
    // A call goes to the gateway's handle. Of the store it uses only the values that it shows.
    (
        "http",
        &[
            "caller", "clock", "config", "fair", "frame", "gateway", "ids", "keys", "metrics", "order",
            "rate", "reject", "store", "text", "time",
        ],
    ),
    ("tls", &["clock", "config", "metrics", "text"]),
    ("listen", &["config", "metrics", "tls"]),
    // Sessions of other nodes. What is done for a session of this node is elsewhere.
    ("forwarding", &["cluster", "config", "listen"]),
    ("refusal_log", &["metrics", "reject"]),
    ("reload", &["gateway", "http"]),
    // The store that the configuration names.
    (
        "stores",
        &["clock", "cluster", "config", "keys", "metrics", "store"],
    ),
    // Modules of the program, not of the library.
    ("signals", &[]),
    (
        "server",
        &[
            "auth",
            "builder",
            "cluster",
            "config",
            "gateway",
            "http",
            "keys",
            "listen",
            "metrics",
            "refusal_log",
            "reload",
            "forwarding",
            "store",
            "stores",
            "tls",
        ],
    ),
];

/// Texts, the reason why they are restricted, and the files that may contain them.
const SEEN_ONLY_IN: &[(&str, &str, &[&str])] = &[
    (
        "store::embedded",
        "only one file chooses the store",
        &["crates/gateway/src/stores.rs"],
    ),
    (
        "store::postgres",
        "only one file chooses the store",
        &["crates/gateway/src/stores.rs"],
    ),
    (
        "mynah_store_sqlite",
        "only lib.rs may depend on a particular store",
        &["crates/gateway/src/lib.rs"],
    ),
    (
        "dyn Store",
        "HTTP and connections reach the store through dispatch or the handle",
        &[
            "crates/gateway/src/builder.rs",
            // They read who the members of a team are.
            "crates/gateway/src/delivery/nodes.rs",
            "crates/gateway/src/delivery/repair.rs",
            "crates/gateway/src/dispatch/core.rs",
            "crates/gateway/src/dispatch/record.rs",
            "crates/gateway/src/gateway.rs",
            "crates/gateway/src/keys/mod.rs",
            "crates/gateway/src/push/",
            // They open and close it.
            "crates/gateway/src/server.rs",
            "crates/gateway/src/stores.rs",
        ],
    ),
    (
        ".reach(",
        "only delivery sends through the registry",
        &[
            "crates/gateway/src/delivery/fanout.rs",
            "crates/gateway/src/directory/registry.rs",
        ],
    ),
    (
        ".reach_everyone(",
        "only delivery sends through the registry",
        &["crates/gateway/src/delivery/fanout.rs"],
    ),
    (
        "SystemTime::now",
        "use clock.rs; the store has a clock that tests can replace, the Socket.IO layer records the time of a handshake",
        &[
            "crates/gateway/src/clock.rs",
            "crates/store-sqlite/src/clock.rs",
            "crates/socketio/src/server.rs",
            "crates/bench/",
        ],
    ),
    ("unbounded_channel", "every queue has a bound", &[]),
];

/// Returns the modules in `crate::x` paths of the code. A name that lib.rs exports stands for its module.
fn uses(code: &str, exported: &BTreeMap<String, String>) -> Vec<String> {
    let code: String = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n");
    let mut found = Vec::new();
    for (at, text) in code.match_indices("crate::") {
        // `crate` must not be the end of a longer word, as in mycrate::x.
        let inside = code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$');
        let rest = &code[at + text.len()..];
        let names = match rest.strip_prefix('{') {
            Some(group) => heads(&group[..closing_brace(group)]),
            None => heads(rest),
        };
        // Without braces, only the first name is a module.
        let names = if rest.starts_with('{') {
            &names[..]
        } else {
            &names[..1.min(names.len())]
        };
        if !inside {
            found.extend(
                names
                    .iter()
                    .map(|name| exported.get(name).unwrap_or(name).clone()),
            );
        }
    }
    found
}

/// Returns the names at the top level of a list: `a` and `b` for `a, b::{c, d}`.
fn heads(list: &str) -> Vec<String> {
    let mut heads = Vec::new();
    let (mut depth, mut name, mut taken) = (0, String::new(), false);
    for c in list.chars().chain([',']) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            c if c.is_alphanumeric() || c == '_' => {
                if depth == 0 && !taken {
                    name.push(c);
                }
                continue;
            }
            ',' if depth == 0 => taken = false,
            _ => {}
        }
        if !name.is_empty() {
            heads.push(std::mem::take(&mut name));
            taken = c != ',';
        }
    }
    heads
}

fn closing_brace(group: &str) -> usize {
    let mut depth = 1;
    for (at, c) in group.char_indices() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if depth == 0 {
            return at;
        }
    }
    group.len()
}

/// Returns the module of each name that lib.rs exports by `pub use module::{...}`.
fn exported() -> BTreeMap<String, String> {
    let lib = document("crates/gateway/src/lib.rs");
    let exports = lib.lines().filter_map(|line| line.strip_prefix("pub use "));
    exports
        .filter_map(|export| export.trim_end_matches(';').split_once("::"))
        // What another crate defines keeps its name.
        .filter(|(module, _)| !module.starts_with("mynah_"))
        .flat_map(|(module, names)| {
            let names = heads(names.trim_matches(['{', '}']));
            names.into_iter().map(|name| (name, module.to_owned()))
        })
        .collect()
}

#[test]
fn modules_use_only_what_they_may() {
    let (exported, mut complaints) = (exported(), Vec::new());
    let mut used_by: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for file in files(&[".rs"]) {
        let Some(inside) = file.path.strip_prefix("crates/gateway/src/") else {
            continue;
        };
        let module = inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs");
        if file.is_test() || ["lib", "main"].contains(&module) {
            continue;
        }
        let Some((module, allowed)) = MAY_USE.iter().find(|(name, _)| *name == module) else {
            complaints.push(format!("{module} is missing in MAY_USE"));
            continue;
        };
        for used in uses(file.code(), &exported) {
            if used != *module && !allowed.contains(&used.as_str()) {
                complaints.push(format!("{} uses {used}, which {module} must not use", file.path));
            }
            used_by.entry(module).or_default().insert(used);
        }
    }
    for (module, allowed) in MAY_USE {
        let used = used_by.entry(module).or_default();
        for unused in allowed.iter().filter(|allowed| !used.contains(**allowed)) {
            complaints.push(format!("{module} does not use {unused}: remove it from MAY_USE"));
        }
    }
    tidy(complaints);
}

#[test]
fn modules_are_listed_after_those_that_they_may_use() {
    let mut complaints = Vec::new();
    for (at, (module, allowed)) in MAY_USE.iter().enumerate() {
        let stands_before = |used: &str| MAY_USE[..at].iter().any(|(name, _)| *name == used);
        for used in allowed.iter().filter(|used| !stands_before(used)) {
            complaints.push(format!("{used} must be before {module} in MAY_USE"));
        }
    }
    tidy(complaints);
}

#[test]
fn restricted_code_stays_in_its_files() {
    let mut complaints = Vec::new();
    let files = files(&[".rs"]);
    for (text, why, places) in SEEN_ONLY_IN {
        for file in &files {
            let own = file.path.contains("/src/") && !file.is_test();
            let allowed = places.iter().any(|place| file.path.starts_with(place));
            if own && !allowed && file.code().contains(text) {
                complaints.push(format!("{} has `{text}`: {why}", file.path));
            }
        }
    }
    // The wire crate uses neither a clock nor IO.
    for file in files
        .iter()
        .filter(|file| file.path.starts_with("crates/wire/src/"))
    {
        for forbidden in [
            "std::time",
            "std::net",
            "std::fs",
            "std::io",
            "std::thread",
            "tokio",
        ] {
            if file.code().contains(forbidden) {
                complaints.push(format!(
                    "{} has `{forbidden}`: mynah-wire must not use it",
                    file.path
                ));
            }
        }
    }
    tidy(complaints);
}

#[test]
fn only_dispatch_touches_its_parts() {
    for (file, part) in [("record", "Record"), ("login", "Login"), ("rules", "Rules")] {
        let text = document(&format!("crates/gateway/src/dispatch/{file}.rs"));
        let (_, fields) = text
            .split_once(&format!("pub(crate) struct {part} {{"))
            .expect("the struct");
        let (fields, _) = fields.split_once("\n}").expect("its end");
        assert!(
            !fields.contains("pub(crate)") && !fields.contains("pub "),
            "{part}: {fields}"
        );
    }
}

#[test]
fn files_of_dispatch_get_the_parts_that_they_need() {
    let mut complaints = Vec::new();
    for file in files(&[".rs"]) {
        let name = file.path.strip_prefix("crates/gateway/src/dispatch/");
        let takes_part = name.is_some_and(|name| !["core.rs", "mod.rs"].contains(&name));
        if takes_part && file.code().contains("Core") {
            complaints.push(format!("{} uses all of Core instead of a part", file.path));
        }
    }
    tidy(complaints);
}

#[test]
fn tests_in_several_files_are_in_one_directory() {
    let files = files(&[".rs"]);
    let mut complaints = Vec::new();
    for file in &files {
        let Some(directory) = file.path.strip_suffix("/tests.rs") else {
            continue;
        };
        let below = format!("{directory}/tests/");
        if files.iter().any(|other| other.path.starts_with(&below)) {
            complaints.push(format!("{} must be {below}mod.rs", file.path));
        }
    }
    tidy(complaints);
}
