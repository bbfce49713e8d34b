//! Documents that must match the code.

use std::fs;

use mynah::Code;
use mynah::config::Config;
use mynah::ids::PairClass;
use mynah::kinds::{Conversation, Kind, PushRule, Row, Senders, Way};

use crate::{File, document, files, root, tidy};

/// Returns the row of a kind in the protocol document.
fn kind_line(row: Row) -> String {
    let yes = |is| if is { "yes" } else { "no" };
    let (rule, way) = (row.rule, row.way);
    let way = match way {
        Way::Up => "up",
        Way::Down => "down",
    };
    let conversation = match rule.conversation {
        Conversation::None => "–",
        Conversation::Pair(PairClass::Plain) => "pair",
        Conversation::Pair(PairClass::Doctor) => "pair (doctor)",
        Conversation::Pair(PairClass::Teammate) => "pair (teammate)",
        Conversation::Pair(PairClass::DoctorFriend) => "pair (doctor friend)",
        Conversation::Notices => "notices",
        Conversation::Team => "team",
        Conversation::OfMessage => "of the message",
    };
    let push = match rule.push {
        PushRule::No => "no".to_owned(),
        PushRule::Yes => "yes".to_owned(),
        PushRule::Urgent(ms) => format!("urgent, {ms} ms"),
    };
    let senders = match rule.senders {
        Senders::Gateway => "gateway",
        Senders::Backend => "backend",
        Senders::Clients => "backend, clients",
        Senders::Members => "backend, members",
    };
    let (stored, unread) = (yes(rule.stored), yes(rule.unread));
    let (number, name) = (row.number, row.name);
    format!("| {number} | {name} | {way} | {conversation} | {stored} | {unread} | {push} | {senders} |")
}

/// Returns the rows of a table between two marks, without its head.
fn table<'a>(document: &'a str, name: &str) -> Vec<&'a str> {
    let (begin, end) = (format!("<!-- {name}: begin -->"), format!("<!-- {name}: end -->"));
    let inside = document
        .split_once(&begin)
        .and_then(|(_, rest)| rest.split_once(&end));
    let (inside, _) =
        inside.unwrap_or_else(|| panic!("docs/PROTOCOL.md has no table between {begin} and {end}"));
    inside
        .lines()
        .filter(|line| line.starts_with('|'))
        .skip(2)
        .collect()
}

#[test]
fn the_table_of_kinds_is_that_of_the_code() {
    let protocol = document("docs/PROTOCOL.md");
    let code = Kind::ALL.map(Kind::row).map(kind_line);
    assert_eq!(table(&protocol, "kinds").join("\n"), code.join("\n"));
}

#[test]
fn every_code_and_every_limit_is_in_the_protocol() {
    let protocol = document("docs/PROTOCOL.md");
    let mut complaints = Vec::new();
    for code in Code::ALL.map(Code::number) {
        if !protocol
            .lines()
            .any(|line| line.starts_with(&format!("| {code} | ")))
        {
            complaints.push(format!("code {code} is not in docs/PROTOCOL.md"));
        }
    }
    let config = toml::Table::try_from(Config::default()).unwrap();
    let rows = table(&protocol, "limits");
    for key in config["limits"].as_table().unwrap().keys() {
        let begin = format!("| `limits.{key}` | ");
        if !rows.iter().any(|row| row.starts_with(&begin)) {
            complaints.push(format!("docs/PROTOCOL.md has no row that begins with {begin}"));
        }
    }
    for row in rows {
        let (key, shown) = key_and_default(row).unwrap_or_else(|| panic!("no row of limits: {row}"));
        let (section, name) = key.split_once('.').unwrap();
        let default = config[section].get(name).map(toml::Value::to_string);
        if default.as_deref() != Some(shown) {
            complaints.push(format!("docs/PROTOCOL.md says {key} is {shown}, not {default:?}"));
        }
    }
    tidy(complaints);
}

/// Returns the key and the default of a row such as "| `limits.members` | 100 | 413 |".
fn key_and_default(row: &str) -> Option<(&str, &str)> {
    let (key, rest) = row.strip_prefix("| `")?.split_once("` | ")?;
    Some((key, rest.split_once(" | ")?.0))
}

/// Returns method and path of each `#[utoipa::path(...)]`, and the paths that the router adds without one.
fn routes(file: &File) -> Vec<String> {
    let after = |mark: &str| {
        file.code()
            .split(mark)
            .skip(1)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let quoted = |text: &str| text.split('"').nth(1).unwrap_or_default().to_owned();
    let described = after("#[utoipa::path(").into_iter().map(|rest| {
        let method = rest.split(',').next().unwrap_or_default().trim().to_uppercase();
        format!(
            "`{method} {}`",
            quoted(rest.split_once("path =").unwrap_or_default().1)
        )
    });
    let added = after(".route(\"").into_iter();
    described
        .chain(added.map(|rest| format!(" {}`", rest.split('"').next().unwrap_or_default())))
        .collect()
}

#[test]
fn every_route_is_in_the_protocol() {
    let protocol = document("docs/PROTOCOL.md");
    let files = files(&[".rs"]);
    let http = files
        .iter()
        .filter(|file| file.path.starts_with("crates/gateway/src/http/") && !file.is_test());
    let routes: Vec<_> = http.flat_map(routes).collect();
    assert!(routes.len() > 15, "routes are not found any more: {routes:?}");
    let missing = routes.iter().filter(|route| !protocol.contains(*route));
    tidy(
        missing
            .map(|route| format!("{route} is not in docs/PROTOCOL.md"))
            .collect(),
    );
}

#[test]
fn paths_in_documents_exist() {
    let mut complaints = Vec::new();
    for file in files(&[".md"]) {
        for path in file.text.split('`').filter(|text| text.starts_with("crates/")) {
            let path = path.split([' ', '*', ',', '{']).next().unwrap_or_default();
            if !root().join(path).exists() {
                complaints.push(format!("{} names {path}, which does not exist", file.path));
            }
        }
    }
    tidy(complaints);
}

/// A code block after `<!-- part of FILE -->` is a part of that file, at any indentation.
#[test]
fn parts_of_files_in_documents_are_in_the_files() {
    let lines = |text: &str| {
        text.lines()
            .map(|line| line.trim().to_owned())
            .collect::<Vec<_>>()
    };
    let (mut complaints, mut parts) = (Vec::new(), 0);
    for file in files(&[".md"]) {
        for part in file.text.split("\n<!-- part of ").skip(1) {
            let (path, rest) = part.split_once(" -->\n```").unwrap();
            let (block, _) = rest.split_once("\n```\n").unwrap();
            let block = &lines(block)[1..];
            parts += 1;
            if !lines(&document(path))
                .windows(block.len())
                .any(|window| window == block)
            {
                complaints.push(format!("{} shows a part of {path} that is not there", file.path));
            }
        }
    }
    assert!(parts >= 2, "parts of files are not found any more");
    tidy(complaints);
}

/// The names of the directories in a directory of the repository.
fn directories(path: &str) -> Vec<String> {
    let entries = fs::read_dir(root().join(path)).into_iter().flatten().flatten();
    let directories = entries.filter(|entry| entry.path().is_dir());
    directories
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

#[test]
fn every_crate_and_every_directory_of_the_gateway_is_on_the_map() {
    let map = document("ARCHITECTURE.md");
    let crates = directories("crates")
        .into_iter()
        .map(|name| format!("| `crates/{name}` |"));
    let modules = directories("crates/gateway/src")
        .into_iter()
        .map(|name| format!("`{name}/`"));
    let missing = crates.chain(modules).filter(|wanted| !map.contains(wanted));
    tidy(
        missing
            .map(|wanted| format!("ARCHITECTURE.md does not say what {wanted} is"))
            .collect(),
    );
}

#[test]
fn files_of_the_product_say_in_their_first_line_what_they_are_for() {
    let files = files(&[".rs"]);
    let product = files
        .iter()
        .filter(|file| file.path.starts_with("crates/") && file.path.contains("/src/") && !file.is_test());
    let silent = product.filter(|file| !file.text.starts_with("//! "));
    tidy(
        silent
            .map(|file| format!("{} does not begin with a line of `//!`", file.path))
            .collect(),
    );
}
