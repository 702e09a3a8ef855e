//! Data directories that somebody else has prepared: they came with a repository, or out of an archive.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use serde_json::json;

use super::server::Server;
use super::skein::TestDirectory;

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("it is there").permissions().mode() & 0o777
}

#[test]
fn a_link_in_the_data_directory_harms_nothing_elsewhere() {
    let mut harmed = Vec::new();
    for name in ["server.json", "key", "key.new", "skein.db", "skein.db-wal", "skein.db.lock"] {
        let temp = TestDirectory::new(&format!("linked_{}", name.replace('.', "_")));
        let victim = temp.path().join("victim");
        let data = temp.path().join(".skein");
        fs::create_dir(&data).unwrap();
        symlink(&victim, data.join(name)).unwrap();
        temp.skein(&["run", "w.yaml"]).output().unwrap();
        if victim.exists() {
            harmed.push(format!("{name} makes a file elsewhere"));
        }
        fs::write(&victim, "precious").unwrap();
        temp.skein(&["run", "w.yaml"]).output().unwrap();
        if fs::read(&victim).is_ok_and(|left| left != b"precious") {
            harmed.push(format!("{name} writes to a file elsewhere"));
        }
    }
    assert_eq!(harmed, Vec::<String>::new());
}

#[test]
fn a_server_that_somebody_has_written_down_is_stderr_nothing() {
    let temp = TestDirectory::new("planted_server");
    let server = Server::start(|_| Some((200, json!({ "name": "w", "version": 1 }))));
    let data = temp.path().join(".skein");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("key"), "skein_planted_planted_planted").unwrap();
    let owner = json!({ "pid": 1, "url": server.url, "stays": true });
    fs::write(data.join("server.json"), owner.to_string()).unwrap();
    // Anybody who can read the file can hold its lock.
    let held = fs::File::open(data.join("server.json")).unwrap();
    held.lock().unwrap();
    let ended = temp.skein(&["run", "w.yaml"]).output().unwrap();
    let stderr = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(server.asked(), Vec::<String>::new(), "{stderr}");
    assert!(!ended.status.success() && stderr.contains("was not made here"), "{stderr}");
}

#[test]
fn a_key_that_somebody_has_written_down_is_not_accepted() {
    const PLANTED: &str = "skein_planted_planted_planted";
    let temp = TestDirectory::new("planted_key");
    let data = temp.path().join(".skein");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("key"), PLANTED).unwrap();
    let ended = temp.skein(&["run", "w.yaml"]).output().unwrap();
    let stderr = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(!ended.status.success() && stderr.contains("was not made here"), "{stderr}");
    assert!(!data.join("skein.db").exists());
}

#[test]
fn what_is_kept_is_for_its_user_only() {
    let temp = TestDirectory::new("modes");
    let data = temp.path().join(".skein");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).unwrap();
    let ended = temp.skein(&["run", "w.yaml"]).output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    assert_eq!(mode(&data), 0o700);
    let named = temp.path().join("named.db");
    fs::write(&named, "").unwrap();
    fs::set_permissions(&named, fs::Permissions::from_mode(0o644)).unwrap();
    for file in ["named.db", "new.db"] {
        let url = format!("sqlite:{file}");
        let command = temp.skein(&["run", "w.yaml", "--database-url", &url]).output();
        let ended = command.unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    }
    let files = |directory: &Path| {
        let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.is_file() && !path.ends_with("w.yaml")).collect::<Vec<_>>()
    };
    for file in files(&data).iter().chain(&files(temp.path())) {
        assert_eq!(mode(file), 0o600, "{}", file.display());
    }
}
