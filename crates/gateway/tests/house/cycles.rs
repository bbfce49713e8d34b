//! The files of a crate have an order: no file uses, directly or indirectly, a file that uses it.
//!
//! What counts as use: `use` declarations and paths that begin with `crate`, `super`, `self`, a child module
//! or an imported module. A re-export counts as a use of the file in which the name is defined, so a module
//! that only re-exports what its children define does not use them. Tests and test tools are not checked.

use std::collections::{BTreeMap, BTreeSet};

use crate::{files, tidy};

/// The source directories of the checked crates.
const CRATES: &[&str] = &[
    "crates/wire/src/",
    "crates/tls/src/",
    "crates/front/src/",
    "crates/socketio/src/",
    "crates/forward/src/",
    "crates/store/src/",
    "crates/store-sqlite/src/",
    "crates/store-postgres/src/",
    "crates/cluster/src/",
    "crates/gateway/src/",
];

/// The path of a module from the crate's root. The root itself is empty.
type Module = Vec<String>;

/// The imports and paths in a file.
#[derive(Default)]
struct Source {
    imports: Vec<Import>,
    /// Paths in the code, without imports.
    paths: Vec<Vec<String>>,
    /// All identifiers in the code, without imports.
    names: BTreeSet<String>,
}

/// A name of a `use` declaration.
struct Import {
    path: Vec<String>,
    name: String,
    public: bool,
}

/// Returns the cycles among files of one crate, which are given by path and text. A cycle is the sorted list
/// of its modules.
fn cycles(files: &[(&str, &str)]) -> Vec<Vec<String>> {
    let uses = graph(files);
    let reach: BTreeMap<_, _> = uses.keys().map(|from| (from, reachable(from, &uses))).collect();
    let mut found = BTreeSet::new();
    for (from, reached) in &reach {
        let both = reached.iter().filter(|to| reach[to].contains(*from));
        let cycle: Vec<_> = both.map(display).collect();
        if !cycle.is_empty() {
            found.insert(cycle);
        }
    }
    found.into_iter().collect()
}

fn display(module: &Module) -> String {
    if module.is_empty() {
        "lib".to_owned()
    } else {
        module.join("::")
    }
}

/// Returns all modules that `from` uses, directly or indirectly.
fn reachable(from: &Module, uses: &BTreeMap<Module, BTreeSet<Module>>) -> BTreeSet<Module> {
    let (mut reached, mut left) = (BTreeSet::new(), vec![from]);
    while let Some(module) = left.pop() {
        for used in &uses[module] {
            if reached.insert(used.clone()) {
                left.push(used);
            }
        }
    }
    reached
}

/// Returns the modules that each module uses.
fn graph(files: &[(&str, &str)]) -> BTreeMap<Module, BTreeSet<Module>> {
    let sources: BTreeMap<Module, Source> = files
        .iter()
        .map(|(path, text)| (module(path), read(text)))
        .collect();
    sources
        .iter()
        .map(|(from, source)| (from.clone(), used(from, source, &sources)))
        .collect()
}

/// Returns the module of a file, given by its path from the crate's root.
fn module(path: &str) -> Module {
    let path = path.trim_end_matches(".rs");
    let mut module: Module = path.split('/').map(str::to_owned).collect();
    if module.last().is_some_and(|last| last == "mod") || path == "lib" {
        module.pop();
    }
    module
}

/// Returns the modules that `from` uses.
fn used(from: &Module, source: &Source, sources: &BTreeMap<Module, Source>) -> BTreeSet<Module> {
    let mut used = BTreeSet::new();
    let mut aliases = BTreeMap::new();
    for import in &source.imports {
        let Some(target) = absolute(from, &import.path, sources) else {
            continue;
        };
        if sources.contains_key(&target) {
            // The import names a module. The paths in the code say what of it is used.
            aliases.insert(import.name.clone(), target);
            continue;
        }
        let defined = definition(target, sources);
        // A module that only re-exports names of its children does not use them.
        let offers = import.public && defined.starts_with(from) && !source.names.contains(&import.name);
        if !offers {
            used.insert(defined);
        }
    }
    for path in &source.paths {
        let target = match aliases.get(&path[0]) {
            Some(module) => Some([&module[..], &path[1..]].concat()),
            None => absolute(from, path, sources),
        };
        used.extend(target.map(|target| definition(target, sources)));
    }
    used.remove(from);
    used
}

/// Returns a path from the crate's root; `None` if it leads out of the crate.
fn absolute(from: &Module, path: &[String], sources: &BTreeMap<Module, Source>) -> Option<Vec<String>> {
    let (first, rest) = path.split_first()?;
    match first.as_str() {
        "crate" => Some(rest.to_vec()),
        "self" => Some([from, rest].concat()),
        "super" => {
            let ups = path.iter().take_while(|part| *part == "super").count();
            let base = from.len().checked_sub(ups)?;
            Some([&from[..base], &path[ups..]].concat())
        }
        _ => {
            let child = [&from[..], std::slice::from_ref(first)].concat();
            sources.contains_key(&child).then(|| [&child[..], rest].concat())
        }
    }
}

/// Returns the module that defines the item at this path.
fn definition(mut path: Vec<String>, sources: &BTreeMap<Module, Source>) -> Module {
    loop {
        let length = (0..=path.len())
            .rev()
            .find(|length| sources.contains_key(&path[..*length]))
            .unwrap_or_default();
        let (module, rest) = path.split_at(length);
        let offered = rest.first().and_then(|name| {
            let source = sources.get(module)?;
            let import = source.imports.iter().find(|import| import.name == *name)?;
            let target = absolute(&module.to_vec(), &import.path, sources)?;
            Some([&target[..], &rest[1..]].concat())
        });
        match offered {
            Some(target) if target != path => path = target,
            _ => return module.to_vec(),
        }
    }
}

/// Reads the imports, paths and names of a file.
fn read(text: &str) -> Source {
    let tokens = tokens(text);
    let mut source = Source::default();
    // The number of open braces, and the numbers at which inline modules begin.
    let (mut depth, mut inside) = (0, Vec::new());
    let mut at = 0;
    while at < tokens.len() {
        let next = tokens.get(at + 1).map_or("", String::as_str);
        match tokens[at].as_str() {
            // `use<..>` is a part of types.
            "use" if next != "<" => {
                let end = tokens[at..].iter().position(|token| token == ";");
                let end = at + end.unwrap_or(tokens.len() - at);
                let public = at > 0 && ["pub", ")"].contains(&tokens[at - 1].as_str());
                let before = source.imports.len();
                import(&tokens[at + 1..end], &[], public, &mut source.imports);
                for import in &mut source.imports[before..] {
                    step_out(&mut import.path, inside.len());
                }
                at = end;
            }
            "mod" => {
                if tokens.get(at + 2).is_some_and(|token| token == "{") {
                    inside.push(depth);
                }
                // The name is skipped, because it is often also the name of an item that the module defines.
                at += 1;
            }
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                inside.pop_if(|begin| *begin == depth);
            }
            name if is_name(name) => {
                let mut path = vec![name.to_owned()];
                while tokens.get(at + 1).is_some_and(|token| token == "::")
                    && tokens.get(at + 2).is_some_and(|token| is_name(token))
                {
                    path.push(tokens[at + 2].clone());
                    at += 2;
                }
                source.names.extend(path.iter().cloned());
                if path.len() > 1 {
                    step_out(&mut path, inside.len());
                    source.paths.push(path);
                }
            }
            _ => {}
        }
        at += 1;
    }
    source
}

/// Rewrites a path inside `modules` nested inline modules into the equivalent path at the top of the file.
fn step_out(path: &mut Vec<String>, modules: usize) {
    let ups = path.iter().take_while(|part| *part == "super").count();
    if modules > 0 && ups > 0 {
        path.drain(..ups.min(modules));
        if ups <= modules {
            path.insert(0, "self".to_owned());
        }
    }
}

/// Reads a tree of imports. `before` is the beginning of each path.
fn import(tree: &[String], before: &[String], public: bool, imports: &mut Vec<Import>) {
    let mut path = before.to_vec();
    let mut at = 0;
    let mut name = None;
    while at < tree.len() {
        match tree[at].as_str() {
            "::" => {}
            "as" => {
                name = tree.get(at + 1).cloned();
                at += 1;
            }
            "{" => {
                let (mut depth, mut begin) = (0, at + 1);
                for (end, token) in tree.iter().enumerate().skip(at) {
                    depth += i32::from(token == "{") - i32::from(token == "}");
                    if (depth == 1 && token == ",") || depth == 0 {
                        import(&tree[begin..end], &path, public, imports);
                        begin = end + 1;
                    }
                    if depth == 0 {
                        break;
                    }
                }
                return;
            }
            part => path.push(part.to_owned()),
        }
        at += 1;
    }
    if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
        path.pop();
    }
    let Some(last) = path
        .last()
        .filter(|_| path.len() > before.len() || !tree.is_empty())
    else {
        return;
    };
    let name = name.unwrap_or_else(|| last.clone());
    imports.push(Import { path, name, public });
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Splits code into names, `::` and single characters, without comments and string literals.
fn tokens(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let mut tokens: Vec<String> = Vec::new();
    for line in lines {
        let mut rest = line;
        while let Some(c) = rest.chars().next() {
            let is_part = |c: char| c.is_alphanumeric() || c == '_';
            let length = if is_part(c) {
                rest.find(|c| !is_part(c)).unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else if rest.starts_with("//") {
                break;
            } else if rest.starts_with("'\"'") {
                3
            } else if c == '"' {
                closing_quote(rest)
            } else {
                c.len_utf8()
            };
            let token = &rest[..length];
            if !token.starts_with('"') && !token.trim().is_empty() {
                tokens.push(token.to_owned());
            }
            rest = &rest[length..];
        }
    }
    tokens
}

/// Returns the length of the string literal at the beginning of `rest`, or all of `rest` if it continues in
/// the next line.
fn closing_quote(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    rest.len()
}

#[test]
fn files_have_an_order() {
    let files = files(&[".rs"]);
    let mut complaints = Vec::new();
    for source in CRATES {
        let own: Vec<_> = files
            .iter()
            .filter(|file| !file.is_test())
            .filter_map(|file| Some((file.path.strip_prefix(source)?, file.code())))
            .filter(|(path, _)| *path != "main.rs")
            .collect();
        assert!(!own.is_empty(), "there is no {source}");
        for cycle in cycles(&own) {
            complaints.push(format!("these files of {source} are an import cycle: {cycle:?}"));
        }
    }
    tidy(complaints);
}

#[test]
fn cycles_are_found() {
    let found = cycles(&[
        ("lib.rs", "mod a; mod b; mod c; pub use b::{self, B};"),
        ("a/mod.rs", "mod child; pub use child::Child; pub struct Parent;"),
        // The child uses what its parent defines.
        ("a/child.rs", "use super::Parent; pub struct Child;"),
        // A cycle through a name that lib.rs exports, an alias, and a path without an import.
        (
            "b.rs",
            "use crate::c as other; fn f() { other::c() } pub struct B;",
        ),
        (
            "c.rs",
            "use crate::d::{x::Y, Z};\n// use crate::a::Parent;\nfn c() {}",
        ),
        (
            "d/mod.rs",
            "mod x; pub fn z(b: crate::B) { \"crate::a::Parent\"; } struct Z;",
        ),
        ("d/x.rs", "use std::fmt; use crate::a::Child; pub struct Y;"),
    ]);
    assert_eq!(found, [["b", "c", "d"]]);
}

#[test]
fn a_module_inside_of_a_file_is_part_of_it() {
    let with = |child: &str| cycles(&[("a.rs", "mod b; fn f() { b::g() }"), ("a/b.rs", child)]);
    assert!(with("mod inside { use super::*; fn f() { super::f() } }").is_empty());
    assert_eq!(with("mod inside { use super::super::f; }"), [["a", "a::b"]]);
    assert_eq!(
        with("mod inside { use super::*; } use super::f;"),
        [["a", "a::b"]]
    );
}

#[test]
fn a_parent_that_uses_its_child_is_a_cycle_if_the_child_uses_the_parent() {
    let parent = "mod child; pub use child::Child; pub struct Parent;";
    let child = "use super::Parent; pub struct Child;";
    let with = |more: &str| cycles(&[("a.rs", &format!("{parent} {more}")), ("a/child.rs", child)]);
    assert!(with("").is_empty());
    for more in [
        "fn f() { child::f() }",
        "fn f(child: Child) {}",
        "use child::f;",
        "use self::child::f;",
        "fn f() { crate::a::child::f() }",
    ] {
        assert_eq!(with(more), [["a", "a::child"]], "{more}");
    }
}
