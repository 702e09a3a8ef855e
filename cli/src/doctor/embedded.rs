//! The embedded mode: its directory, who owns it, and the file of its store.

use std::path::Path;

use skein_shared::private;

use super::Finding;
use crate::arguments::data_flags;
use crate::data_directory::DataDirectory;
use crate::shell::hint;

/// The store that `DATABASE_URL` names as a file.
pub(super) fn check_file(file: &Path) -> Vec<Finding> {
    const NAME: &str = "file";
    let shown = file.display();
    if !file.exists() {
        let what = format!("there is no {shown} yet");
        // DATABASE_URL names it, wherever the command is typed.
        let remedy = format!("{} makes it", hint(&["dev"], &[]));
        return vec![Finding::skipped(NAME, what, Some(&remedy))];
    }
    let mut findings = vec![match private::file(file) {
        Ok(_) => Finding::ok(NAME, format!("{shown} is there and this user's")),
        Err(error) => {
            Finding::failed(NAME, error.to_string(), "give it to this user alone: chmod 600")
        }
    }];
    findings.extend(disk(file.parent().unwrap_or(file)));
    findings
}

/// The directory of the embedded mode.
pub(super) fn check_directory(path: &Path) -> Vec<Finding> {
    const NAME: &str = "directory";
    let directory = DataDirectory::new(path);
    let shown = path.display();
    if !directory.exists() {
        let what = format!("DATABASE_URL is not set, and there is no {shown} yet");
        let dev = hint(&["dev"], &data_flags(path));
        let remedy = format!(
            "set DATABASE_URL for an installation with a server; {dev} makes the directory of the embedded mode"
        );
        return vec![Finding::skipped(NAME, what, Some(&remedy))];
    }
    let owner = match directory.owner() {
        Ok(owner) => owner,
        Err(error) => {
            let remedy = "see what it is: the message says how to keep it or to be rid of it";
            return vec![Finding::failed(NAME, format!("{error:#}"), remedy)];
        }
    };
    let mut findings = vec![match owner {
        Some(owner) => {
            let (pid, url) = (owner.pid, owner.url);
            Finding::ok(NAME, format!("{shown} is in use by process {pid}, which serves {url}"))
        }
        None => Finding::ok(NAME, format!("{shown} was made here, and nobody uses it now")),
    }];
    findings.push(match directory.key() {
        Ok(Some(_)) => Finding::ok("key", "it is there, and this user's alone"),
        Ok(None) => {
            let remedy = format!("{} makes one", hint(&["dev"], &data_flags(path)));
            Finding::skipped("key", "there is none yet", Some(&remedy))
        }
        Err(error) => {
            Finding::failed("key", format!("{error:#}"), "remove it, and a new one is made")
        }
    });
    if directory.database().exists() {
        findings.extend(disk(path));
    }
    findings
}

/// Whether SQLite may lean on the file system, and whether there is room.
#[cfg(target_os = "linux")]
fn disk(directory: &Path) -> Vec<Finding> {
    // `.parent()` of a bare name is an empty path.
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    match rustix::fs::statfs(directory) {
        Ok(disk) => {
            let bytes = i128::from(disk.f_bavail) * i128::from(disk.f_bsize);
            judge(i128::from(disk.f_type), u64::try_from(bytes).unwrap_or_default())
        }
        Err(error) => vec![Finding::warning(
            "disk",
            format!("{} cannot be looked at: {error}", directory.display()),
            "see whether its disk is mounted",
        )],
    }
}

#[cfg(not(target_os = "linux"))]
fn disk(_: &Path) -> Vec<Finding> {
    Vec::new()
}

/// Bytes that are to be free: some thousand runs.
#[cfg(target_os = "linux")]
const FREE_BYTES_MIN: u64 = 256 * 1024 * 1024;

/// File systems over a network by the numbers that Linux gives them: locks and shared memory, which the store needs, do
/// not hold there.
#[cfg(target_os = "linux")]
const OVER_NETWORK: &[(i128, &str)] = &[
    (0x6969, "NFS"),
    (0x517B, "SMB"),
    (0xFF53_4D42, "CIFS"),
    (0xFE53_4D42, "SMB 2"),
    (0x0102_1997, "9P"),
];

#[cfg(target_os = "linux")]
fn judge(kind: i128, free: u64) -> Vec<Finding> {
    // The field is signed, and 32 bits wide on some machines.
    let network = OVER_NETWORK.iter().find(|(number, _)| *number == kind & 0xFFFF_FFFF);
    let mut findings = vec![match network {
        Some((_, name)) => Finding::warning(
            "file system",
            format!("it is {name}, over a network"),
            "keep it on a disk of this machine: SQLite's locks do not hold over a network",
        ),
        None => Finding::ok("file system", "it is of this machine"),
    }];
    let free_mib = free / (1024 * 1024);
    if free < FREE_BYTES_MIN {
        findings.push(Finding::warning("disk", format!("{free_mib} MiB are free"), "make room"));
    } else {
        findings.push(Finding::ok("disk", format!("{free_mib} MiB are free")));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Outcome;
    use crate::test_directory::TestDirectory;

    #[cfg(target_os = "linux")]
    #[test]
    fn a_disk_over_a_network_or_without_room_is_warned_of() {
        let outcomes = |kind, free| {
            let findings = judge(kind, free);
            findings.into_iter().map(|it| it.outcome).collect::<Vec<_>>()
        };
        let (ext4, nfs, cifs) = (0xEF53, 0x6969, i128::from(0xFF53_4D42_u32.cast_signed()));
        assert_eq!(outcomes(ext4, FREE_BYTES_MIN), [Outcome::Ok, Outcome::Ok]);
        assert_eq!(outcomes(nfs, FREE_BYTES_MIN), [Outcome::Warning, Outcome::Ok]);
        assert_eq!(outcomes(cifs, FREE_BYTES_MIN), [Outcome::Warning, Outcome::Ok]);
        assert_eq!(outcomes(ext4, FREE_BYTES_MIN - 1), [Outcome::Ok, Outcome::Warning]);
    }

    #[test]
    fn what_is_not_there_is_no_failure_and_is_not_made() {
        let temp = TestDirectory::new();
        let path = temp.path().join("none");
        for findings in [check_directory(&path), check_file(&path)] {
            assert_eq!(findings.len(), 1);
            assert_eq!(findings[0].outcome, Outcome::Skipped);
        }
        assert!(!path.exists());
    }

    #[test]
    fn a_directory_that_was_not_made_here_is_a_failure() {
        let temp = TestDirectory::new();
        std::fs::write(temp.path().join("key"), "somebody's").unwrap();
        let findings = check_directory(temp.path());
        assert_eq!(findings[0].outcome, Outcome::Failed);
        assert!(findings[0].what.contains("was not made here"), "{findings:?}");
        assert!(!findings[0].what.contains("somebody's"));
    }
}
