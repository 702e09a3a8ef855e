//! Lists the migrations for `store::migrations`, so that one that is added is part of the next build.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=../migrations");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    for store in ["postgres", "sqlite"] {
        let list = list(&Path::new("../migrations").join(store).canonicalize()?)?;
        fs::write(out.join(format!("{store}_migrations.rs")), list)?;
    }
    Ok(())
}

/// A Rust expression: version, description and statements of each file of a folder.
fn list(folder: &Path) -> io::Result<String> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let (version, description) = name
            .strip_suffix(".sql")
            .and_then(|name| name.split_once('_'))
            .and_then(|(version, what)| {
                Some((version.parse::<i64>().ok()?, what.replace('_', " ")))
            })
            .ok_or_else(|| io::Error::other(format!("{name} is not named as a migration is")))?;
        files.push(format!("    ({version}, {description:?}, include_str!({path:?})),\n"));
    }
    Ok(format!("&[\n{}]\n", files.concat()))
}
