//! Files, environment variables and flags, and the errors about them.

use super::*;

fn parse(text: &str) -> Result<Config, Vec<String>> {
    Config::parse(text, "mynah.toml").map_err(|e| e.0)
}

fn env(pairs: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    let env = pairs
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()));
    super::env::overlay(Config::default(), env)
}

fn only(result: Result<Config, Vec<String>>) -> String {
    let mut problems = result.unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems.remove(0)
}

#[test]
fn an_empty_file_gives_the_defaults() {
    let config = parse("").unwrap();
    assert_eq!(config, Config::default());
    assert_eq!(config.server.listen, "127.0.0.1:3001");
    assert_eq!(config.auth.mode, Mode::Open);
    assert_eq!(config.store.path, std::path::Path::new("./mynah-data"));
}

#[test]
fn the_example_file_equals_the_code_and_contains_the_defaults() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/mynah.toml");
    let there = std::fs::read_to_string(file).unwrap_or_default();
    assert!(
        there == example(),
        "examples/mynah.toml differs from the code: cargo run -- example-config > examples/mynah.toml"
    );
    assert_eq!(parse(&example()).unwrap(), Config::default());
    for key in super::file::all_keys() {
        let name = key.rsplit('.').next().unwrap();
        let is_section = SECTIONS.iter().any(|s| s.path == key);
        assert!(
            is_section || example().contains(&format!("{name} = ")),
            "{key} is not in the example"
        );
    }
}

#[test]
fn the_example_of_a_kind_is_valid() {
    let text = example();
    let from = text.find("# [[kinds]]").unwrap();
    let kinds = text[from..].replace("# ", "");
    assert_eq!(parse(&kinds).unwrap().kinds[0].number, 1000);
}

#[test]
fn an_unknown_key_is_reported_with_its_line_and_a_suggestion() {
    let problem = only(parse("[server]\nlistn = \"127.0.0.1:1\"\n"));
    assert_eq!(
        problem,
        "mynah.toml:2: unknown key server.listn; did you mean server.listen?"
    );
    let problem = only(parse("[server]\n\n[push]\nurl = \"http://x/\"\n"));
    assert_eq!(
        problem,
        "mynah.toml:4: unknown key push.url; did you mean push.webhook.url?"
    );
    let problem = only(parse("zzz = 1\n"));
    assert!(
        problem.starts_with("mynah.toml:1: unknown key zzz; the sections are server, server.tls, auth"),
        "{problem}"
    );
    let problem = only(parse(
        "[[kinds]]\nnumber = 1000\nname = \"A\"\nconversation = \"none\"\nstore = true\n",
    ));
    assert!(
        problem.starts_with("mynah.toml:5: kinds.store: unknown key `store`; the keys are `number`"),
        "{problem}"
    );
    let problem = only(parse("serverr = 1\n"));
    assert_eq!(problem, "mynah.toml:1: unknown key serverr; did you mean server?");
}

#[test]
fn all_unknown_keys_are_reported() {
    assert_eq!(parse("[limits]\na = 1\nb = 2\n").unwrap_err().len(), 2);
}

#[test]
fn a_wrong_type_is_reported_with_its_line_and_key() {
    let problem = only(parse("[limits]\nmembers = 1\nqueue_bytes = \"big\"\n"));
    assert!(
        problem
            .starts_with("mynah.toml:3: limits.queue_bytes: must be a whole number, 0 or more, not a string"),
        "{problem}"
    );
    for text in [
        "[[kinds]]\nnumber = \"x\"\nname = \"A\"\nconversation = \"none\"\n",
        "[[kinds]]\nnumber = 70000\n",
    ] {
        let problem = only(parse(text));
        assert!(
            problem.starts_with("mynah.toml:2: kinds.number: must be a whole number from 0 to 65535"),
            "{problem}"
        );
    }
    for text in [
        "[login]\npolicy = 3\n",
        "[login]\npolicy = [\"multi\"]\n",
        "server = 3\n",
        "kinds = 3\n",
        "kinds = [3]\n",
    ] {
        let problem = only(parse(text));
        for word in [
            "struct",
            "enum",
            "variant",
            "usize",
            "sequence",
            "invalid type",
            " map",
            "borrowed",
        ] {
            assert!(!problem.contains(word), "{text}: {problem}");
        }
    }
    let problem = only(parse("[login]\npolicy = \"one\"\n"));
    assert!(
        problem.starts_with("mynah.toml:2: login.policy: must be one of `single`"),
        "{problem}"
    );
    let problem = only(parse("[limits]\nmembers = -1\n"));
    assert!(problem.starts_with("mynah.toml:2: limits.members: "), "{problem}");
    let problem = only(parse("server = 3\n"));
    assert!(problem.starts_with("mynah.toml:1: server: "), "{problem}");
    let problem = only(parse("push.webhook = 3\n"));
    assert!(problem.starts_with("mynah.toml:1: push.webhook: "), "{problem}");
}

#[test]
fn invalid_toml_is_reported_with_its_line() {
    let problem = only(parse("[server]\nlisten = \n"));
    assert!(problem.starts_with("mynah.toml:2: "), "{problem}");
}

#[test]
fn invalid_values_are_refused_with_a_sentence() {
    for (text, sentence) in [
        (
            "[server]\nlisten = \"here\"",
            "server.listen must be an address and a port",
        ),
        (
            "[server]\nlisten = \":3001\"",
            "server.listen must be an address and a port",
        ),
        (
            "[server]\ncors_origins = [\"example.com\"]",
            "server.cors_origins must contain",
        ),
        (
            "[server]\ncors_origins = [\"https://a.example/path\"]",
            "server.cors_origins must contain",
        ),
        (
            "[server]\nadmin_listen = \"3002\"",
            "server.admin_listen must be an address and a port",
        ),
        (
            "[server]\ntrusted_proxies = [\"10.0.0.1/8\"]",
            "server.trusted_proxies: \"10.0.0.1/8\" has bits beyond its first 8: write 10.0.0.0/8",
        ),
        (
            "[engine]\nping_interval_ms = 0",
            "engine.ping_interval_ms must be 10 to 3600000, not 0",
        ),
        ("[engine]\npath = \"/v1/x/\"", "engine.path must begin and end"),
        ("[limits]\nmessage_bytes = 0", "limits.message_bytes must be 1 to"),
        (
            "[limits]\nbody_bytes = 2000",
            "limits.message_bytes (65536) must not be more than limits.body_bytes",
        ),
        (
            "[limits]\ndedupe_window_ms = 0",
            "limits.dedupe_window_ms must be",
        ),
        ("[login]\nmax_devices = 0", "login.max_devices must be 1 to"),
        (
            "[push]\nretry_max_ms = 10",
            "push.retry_initial_ms (1000) must not be more",
        ),
        (
            "[push.webhook]\nurl = \"ftp://x\"",
            "push.webhook.url must be an http or https URL",
        ),
        (
            "[push.webhook]\nsecret = \"\"",
            "push.webhook.secret must not be empty",
        ),
        ("[send]\nsystem_uid = \"\"", "send.system_uid must not be empty"),
        ("[store]\npath = \"\"", "store.path must not be empty"),
        (
            "[auth]\napi_keys = [\"has a space\"]",
            "auth.api_keys: key number 1 must have 1 to 1,024 printable",
        ),
        (
            "[auth]\napi_keys = [\"fine\", \"sha256:mynah_1234\"]",
            "auth.api_keys: key number 2 must have 64 hexadecimal digits",
        ),
        (
            "[auth.jwt]\nsecret = \"short\"",
            "auth.jwt.secret must have at least 32 bytes, not 5",
        ),
        (
            "[auth.jwt]\njwks_file = \"a\"\njwks_url = \"https://a/\"",
            "auth.jwt.jwks_file and auth.jwt.jwks_url must not both be set",
        ),
        (
            "[auth.jwt]\njwks_url = \"a\"",
            "auth.jwt.jwks_url must be an http or https URL",
        ),
        (
            "[auth.jwt]\naudience = \"\"",
            "auth.jwt.audience must not contain an empty string",
        ),
        (
            "[auth.webhook]\nurl = \"a\"",
            "auth.webhook.url must be an http or https URL",
        ),
        (
            "[auth.webhook]\nsecret = \"\"",
            "auth.webhook.secret must not be empty",
        ),
        ("[log]\nfilter = \"x=y=z\"", "log.filter must be"),
        (
            "[[kinds]]\nnumber = 20\nname = \"A\"\nconversation = \"none\"",
            "kinds: number 20 must be 1000 to 9999",
        ),
        (
            "[[kinds]]\nnumber = 1000\nname = \"A\"\nconversation = \"none\"\nstored = true",
            "kinds: number 1000: a stored kind needs a conversation",
        ),
        (
            "[[kinds]]\nnumber = 1000\nname = \"A\"\nconversation = \"pair\"\npush = true",
            "kinds: number 1000: unread and push are for stored kinds",
        ),
    ] {
        let problem = only(parse(text));
        assert!(problem.starts_with(sentence), "{text}: {problem}");
    }
    let twice = "[[kinds]]\nnumber = 1000\nname = \"A\"\nconversation = \"none\"\n".repeat(2);
    assert_eq!(parse(&twice).unwrap_err().len(), 2, "number and name");
}

/// Returns a valid value that differs from the default, as the text of a variable.
fn another(key: &str, default: Option<&toml::Value>) -> String {
    use toml::Value;
    match (key, default) {
        ("login.policy", _) => "multi".into(),
        ("login.displaced", _) => "notify".into(),
        ("store.durability", _) => "process".into(),
        ("auth.mode", _) => "jwt".into(),
        ("auth.jwt.secret", _) => "a secret of at least thirty-two bytes".into(),
        ("log.format", _) => "json".into(),
        ("engine.path", _) => "/chat/".into(),
        ("server.admin_listen", _) => "127.0.0.1:3002".into(),
        ("server.hosts", _) => "a.example,b.example".into(),
        ("server.trusted_proxies", _) => "10.0.0.0/8,::1".into(),
        (_, None) => "http://x/".into(),
        (_, Some(Value::Integer(number))) => (number + 1).to_string(),
        (_, Some(Value::Boolean(value))) => (!value).to_string(),
        (_, Some(Value::String(text))) => format!("{text}1"),
        (_, Some(Value::Array(_))) => "https://a.example,https://bbbbbb.example".into(),
        (_, other) => panic!("{key}: {other:?}"),
    }
}

#[test]
fn every_key_can_be_set_by_environment() {
    let defaults = toml::Table::try_from(Config::default()).unwrap();
    for key in super::file::all_keys().filter(|key| SECTIONS.iter().all(|s| s.path != key)) {
        let mut parts = key.split('.');
        let first = defaults.get(parts.next().unwrap());
        let value = parts.fold(first, |value, part| value?.get(part));
        let name = format!("MYNAH_{}", key.replace('.', "__").to_uppercase());
        let text = another(&key, value);
        let config = env(&[(&name, &text)]).unwrap_or_else(|e| panic!("{name}={text}: {e:?}"));
        assert_ne!(config, Config::default(), "{name}={text} changed nothing");
        assert_eq!(config.problems(), Vec::<String>::new(), "{name}={text}");
    }
}

#[test]
fn the_environment_overrides_the_file_and_flags_override_both() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("m.toml");
    std::fs::write(
        &file,
        "[server]\nlisten = \"127.0.0.1:1\"\ngrace_ms = 1\n[login]\nmax_devices = 3\n",
    )
    .unwrap();
    let sources = Sources {
        file: Some(file),
        env: vec![
            ("MYNAH_SERVER__LISTEN".into(), "127.0.0.1:2".into()),
            ("MYNAH_SERVER__GRACE_MS".into(), "2".into()),
            ("OTHER__X".into(), "2".into()),
        ],
        listen: Some("127.0.0.1:3".into()),
        data: Some("/elsewhere".into()),
    };
    let config = Config::load(sources).unwrap();
    assert_eq!(config.server.listen, "127.0.0.1:3");
    assert_eq!(config.server.grace_ms, 2);
    assert_eq!(config.login.max_devices, 3);
    assert_eq!(config.store.path, std::path::Path::new("/elsewhere"));
}

#[test]
fn a_named_file_that_does_not_exist_is_an_error() {
    let sources = Sources {
        file: Some("/nowhere/mynah.toml".into()),
        ..Sources::default()
    };
    assert!(
        Config::load(sources)
            .unwrap_err()
            .to_string()
            .starts_with("/nowhere/mynah.toml cannot be read")
    );
}

#[test]
fn lists_by_environment_are_arrays_or_separated_by_commas() {
    let keys = |text: &str| env(&[("MYNAH_AUTH__API_KEYS", text)]).unwrap().auth.api_keys;
    let two = vec![Secret::new("one"), Secret::new("two")];
    assert_eq!(keys("one, two"), two);
    assert_eq!(keys(r#"["one", "two"]"#), two);
    assert_eq!(keys(""), vec![]);
    let kinds = env(&[(
        "MYNAH_KINDS",
        r#"[{number = 1001, name = "A", conversation = "team"}]"#,
    )])
    .unwrap()
    .kinds;
    assert_eq!(kinds[0].conversation, Conversation::Team);
}

#[test]
fn a_single_name_needs_no_brackets() {
    let config = parse("[auth.jwt]\naudience = \"chat\"\nissuer = [\"a\", \"b\"]\n").unwrap();
    assert_eq!(config.auth.jwt.audience.0, ["chat"]);
    assert_eq!(config.auth.jwt.issuer.0, ["a", "b"]);
    let problem = only(parse("[auth.jwt]\naudience = 7\n"));
    assert!(problem.contains("a string or a list of strings"), "{problem}");
}

#[test]
fn an_invalid_variable_is_reported_with_its_name() {
    for (name, value, sentence) in [
        (
            "MYNAH_SERVER__LISTN",
            "x",
            "unknown key server.listn; did you mean MYNAH_SERVER__LISTEN?",
        ),
        (
            "MYNAH_PUSH__WEBHOOK",
            "x",
            "push.webhook is a section, not a key; its keys are MYNAH_PUSH__WEBHOOK__URL, ",
        ),
        (
            "MYNAH_NO__SUCH",
            "x",
            "unknown key no.such; variables that begin with MYNAH_ set keys",
        ),
        (
            "MYNAH_LOGIN_POLICY",
            "multi",
            "unknown key login_policy; did you mean MYNAH_LOGIN__POLICY?",
        ),
        (
            "MYNAH_AUTH_JWT_SECRET",
            "multi",
            "unknown key auth_jwt_secret; did you mean MYNAH_AUTH__JWT__SECRET?",
        ),
        ("MYNAH_", "x", "unknown key "),
        ("MYNAH_BIN", "x", "unknown key bin"),
        (
            "MYNAH_KINDS",
            "1",
            "must be a TOML array such as [{ number = 1000",
        ),
        ("MYNAH_PORTS", "x", "unknown key ports"),
        (
            "MYNAH_LIMITS__MEMBERS",
            "many",
            "must be a whole number, not \"many\"",
        ),
        (
            "MYNAH_LIMITS__MEMBERS",
            "-1",
            "must be a whole number, 0 or more, not -1",
        ),
        (
            "MYNAH_SERVER__ALLOW_OPEN_BEYOND_LOOPBACK",
            "yes",
            "must be true or false, not \"yes\"",
        ),
        ("MYNAH_LOGIN__POLICY", "one", "must be one of `single`, "),
        ("MYNAH_AUTH__API_KEYS", "[\"a", "must be a TOML array"),
    ] {
        let problem = only(env(&[(name, value)]));
        assert!(problem.starts_with(&format!("{name}: {sentence}")), "{problem}");
    }
}

#[test]
fn a_byte_order_mark_is_ignored() {
    let config = parse("\u{feff}[login]\nmax_devices = 3\n").unwrap();
    assert_eq!(config.login.max_devices, 3);
    let problem = only(parse("\u{feff}[login]\nmax_device = 3\n"));
    assert!(problem.starts_with("mynah.toml:2: "), "{problem}");
}

#[test]
fn an_empty_variable_unsets_an_optional_key() {
    assert_eq!(
        env(&[("MYNAH_PUSH__WEBHOOK__URL", "")]).unwrap().push.webhook.url,
        None
    );
}

#[test]
fn debug_output_does_not_show_secrets() {
    let mut config = Config::default();
    config.auth.api_keys = vec![Secret::new("hush-hush-hush-hush")];
    config.auth.jwt.secret = Some(Secret::new("hush"));
    config.auth.webhook.secret = Some(Secret::new("hush"));
    config.push.webhook.secret = Some(Secret::new("hush"));
    assert!(!format!("{config:?}").contains("hush"));
}

#[test]
fn an_entry_can_be_a_digest_with_a_name_and_scopes() {
    let digest = KeyDigest::of("secret");
    let parse = |more: &str| ConfiguredKey::parse(&Secret::new(format!("sha256:{}{more}", digest.hex())));
    let whole = parse(";name=billing;scopes=send+read").unwrap();
    assert_eq!(whole.name.as_deref(), Some("billing"));
    assert_eq!(whole.scopes, Scopes::of(&[Scope::Send, Scope::Read]));
    assert!(whole.hashed && bool::from(whole.digest.same(&KeyDigest::of("secret"))));
    assert_eq!(parse("").unwrap().scopes, Scopes::ALL);
    for wrong in [
        "0",
        ";",
        ";name=",
        ";name=a/b",
        ";scopes=",
        ";scopes=send,read",
        ";scope=send",
        ";admin",
    ] {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
    let plain = ConfiguredKey::parse(&Secret::new("plain;scopes=read")).unwrap();
    assert!(
        !plain.hashed && plain.scopes == Scopes::ALL,
        "only a digest can have scopes"
    );
    for wrong in ["", "a b", "ü", &"k".repeat(1_025)] {
        assert!(ConfiguredKey::parse(&Secret::new(wrong)).is_err());
    }
    let (upper, lower) = (digest.hex().to_uppercase(), digest.hex());
    assert_eq!(KeyDigest::from_hex(&upper).unwrap().hex(), lower);
    assert!(KeyDigest::from_hex(&"ü".repeat(32)).is_none());
}

#[test]
fn scopes_are_parsed_as_they_are_displayed() {
    for text in ["send", "send,read", "manage,metrics", "send,read,manage,metrics"] {
        assert_eq!(text.parse::<Scopes>().unwrap().to_string(), text);
    }
    assert_eq!("all".parse(), Ok(Scopes::ALL));
    assert_eq!(
        " read , send ".parse::<Scopes>().unwrap().to_string(),
        "send,read"
    );
    for wrong in ["", ",", "send,", "admin", "SEND", "send read"] {
        assert_eq!(wrong.parse::<Scopes>(), Err(NoScopes), "{wrong}");
    }
}
