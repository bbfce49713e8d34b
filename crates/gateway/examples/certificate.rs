//! Writes a self-signed certificate for 127.0.0.1 and localhost (`cert.pem`) and its key (`key.pem`) into a
//! directory, for tests from outside. Use a certificate of an authority for anything else.

use std::path::PathBuf;
use std::{env, fs};

use anyhow::Context;
use rcgen::{CertifiedKey, generate_simple_self_signed};

fn main() -> anyhow::Result<()> {
    let directory = env::args_os().nth(1).context("name the directory")?;
    let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names)?;
    for (name, pem) in [("cert.pem", cert.pem()), ("key.pem", signing_key.serialize_pem())] {
        // Each file is replaced atomically, as programs that renew certificates do.
        let (new, file) = (
            PathBuf::from(&directory).join("new.pem"),
            PathBuf::from(&directory).join(name),
        );
        fs::write(&new, pem)?;
        fs::rename(&new, &file).with_context(|| file.display().to_string())?;
    }
    Ok(())
}
