//! What services are made of fits the programs.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use skein_api::limits::{CONNECTIONS_MAX, DESCRIPTORS_RESERVED, RESERVED_CONNECTIONS_MAX};
use skein_shared::domain::duration;

use crate::layers::packages;
use crate::root;

/// What is left to the last commits and to telemetry, at least.
const REST: Duration = Duration::from_secs(10);

/// A unit of systemd.
struct Unit {
    /// Its name, without `.service`.
    name: String,
    text: String,
}

impl Unit {
    /// The values that a setting has in it, in their order.
    fn all(&self, setting: &str) -> Vec<&str> {
        let lines = self.text.lines();
        lines.filter_map(|line| line.strip_prefix(setting)?.strip_prefix('=')).collect()
    }

    /// The only value of a setting.
    fn one(&self, setting: &str) -> &str {
        let all = self.all(setting);
        assert_eq!(all.len(), 1, "{} has {all:?} as {setting}", self.name);
        all[0]
    }
}

fn units() -> Vec<Unit> {
    let folder = fs::read_dir(root().join("deploy/systemd")).expect("the folder is there");
    let paths = folder.map(|entry| entry.expect("an entry").path());
    let mut units: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "service"))
        .map(|path| Unit {
            name: path.file_stem().expect("a name").to_string_lossy().into_owned(),
            text: fs::read_to_string(&path).expect("text"),
        })
        .collect();
    units.sort_by(|one, other| one.name.cmp(&other.name));
    units
}

/// The programs of the workspace.
fn programs() -> BTreeSet<String> {
    let packages = packages();
    let targets = packages.iter().flat_map(|it| it["targets"].as_array().expect("a list"));
    let is_program = |kinds: &serde_json::Value| {
        kinds.as_array().is_some_and(|it| it.iter().any(|kind| kind == "bin"))
    };
    targets
        .filter(|target| is_program(&target["kind"]))
        .map(|target| target["name"].as_str().expect("a name").to_owned())
        .collect()
}

#[test]
fn each_unit_runs_its_program_under_the_settings_of_the_installation() {
    let (units, programs) = (units(), programs());
    let names: Vec<_> = units.iter().map(|unit| unit.name.as_str()).collect();
    assert_eq!(names, ["skein-api", "skein-worker"]);
    for unit in &units {
        assert!(programs.contains(&unit.name), "{} is no program: {programs:?}", unit.name);
        assert_eq!(unit.one("ExecStart"), format!("/usr/local/bin/{}", unit.name));
        let own = unit.name.trim_start_matches("skein-");
        let files = ["/etc/skein/skein.env".to_owned(), format!("-/etc/skein/{own}.env")];
        assert_eq!(unit.all("EnvironmentFile"), files);
        // Connections to PostgreSQL are slow without it, and nothing else would say so.
        let calls = unit.one("SystemCallFilter");
        assert!(calls.split(' ').any(|call| call == "pidfd_getfd"), "{}: {calls}", unit.name);
    }
}

#[test]
fn units_leave_programs_the_time_and_the_descriptors_that_they_take() {
    let readme = fs::read_to_string(root().join("README.md")).expect("text");
    let row = readme.lines().find(|line| line.starts_with("| `SKEIN_DRAIN_TIMEOUT` |"));
    let drain = row.and_then(|row| row.split('`').nth(3)).expect("its default is in the table");
    let drains = [
        ("skein-api", skein_api::Limits::default().drain_time),
        ("skein-worker", duration::parse(drain).expect("a duration")),
    ];
    for (unit, (name, drain)) in units().iter().zip(drains) {
        assert_eq!(unit.name, name);
        let stop: u64 = unit.one("TimeoutStopSec").parse().expect("seconds");
        assert!(Duration::from_secs(stop) >= drain + REST, "{name}: {stop} s after {drain:?}");
        let descriptors: usize = unit.one("LimitNOFILE").parse().expect("a number");
        let taken = CONNECTIONS_MAX + RESERVED_CONNECTIONS_MAX + DESCRIPTORS_RESERVED;
        assert!(descriptors >= taken, "{name}: {descriptors}, less than {taken}");
    }
}

/// The page's two commands build what the second one installs, and that is every unit with its program.
#[test]
fn what_is_installed_is_what_is_there() {
    let text = |path: &str| fs::read_to_string(root().join(path)).expect("text");
    let (page, install) = (text("deploy/README.md"), text("deploy/systemd/install"));
    let block = page.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next());
    let commands: Vec<_> = block.expect("the first block").lines().collect();
    let [build, second] = commands[..] else { panic!("{commands:?}") };
    assert_eq!(second, "sudo deploy/systemd/install");
    assert!(install.contains(&format!("build=\"{build}\"")), "it tells another way to build");
    let built: Vec<_> = build.split(" -p ").skip(1).collect();
    let units: Vec<_> = units().into_iter().map(|unit| unit.name).collect();
    assert_eq!(built[0], "skein");
    assert_eq!(built[1..], units);
    let files: Vec<_> = units.iter().map(|name| format!("{name}.service")).collect();
    assert!(install.contains(&format!("units=({})", files.join(" "))), "{files:?}");
    for program in built {
        let installed = format!("\"$programs/{program}\"");
        assert!(install.contains(&installed), "{program} is built and not installed");
        assert!(programs().contains(program), "{program}");
    }
}

/// Calls the installer in a directory without programs, so that it ends before anything is made whoever calls it.
fn refused_by_the_installer(label: &str, environment: &[(&str, &str)]) -> (PathBuf, String) {
    let folder = std::env::temp_dir().join(format!("skein-{label}-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a directory can be made");
    let folder = folder.canonicalize().expect("it was made");
    let mut install = Command::new("/bin/bash");
    install.arg(root().join("deploy/systemd/install")).current_dir(&folder).env_clear();
    // It finds what it needs by itself.
    install.envs([("PATH", "/nowhere"), ("PROGRAMS", "none")]).envs(environment.iter().copied());
    let ended = install.output().expect("there is a bash");
    fs::remove_dir_all(&folder).expect("it is ours");
    let said = String::from_utf8(ended.stderr).expect("it is text");
    assert_eq!(ended.status.code(), Some(1), "{said}");
    (folder, said)
}

#[test]
fn the_installer_refuses_urls_that_no_service_starts_with_and_does_not_show_them() {
    for (variable, url, wanted) in [
        ("DATABASE_URL", "sqlite:/tmp/s3cret.db", "write postgres://"),
        ("DATABASE_URL", "mysql://ada:s3cret@db/skein", "write postgres://"),
        ("AMQP_URL", "http://ada:s3cret@mq:15672/", "write amqp://"),
    ] {
        let (_, said) = refused_by_the_installer("urls", &[(variable, url)]);
        assert!(said.contains(variable) && said.contains(wanted), "{url}: {said}");
        assert!(!said.contains("s3cret") && !said.contains("sqlite"), "{url}: {said}");
    }
}

#[test]
fn the_installer_takes_programs_from_where_its_caller_is() {
    let urls = [("DATABASE_URL", "PostgreSQL://db/skein"), ("AMQP_URL", "amqps://mq/skein")];
    let (folder, said) = refused_by_the_installer("programs", &urls);
    let missing = format!("there is no {}/none/skein: cargo build", folder.display());
    assert!(said.contains(&missing), "{said}");
}

/// A program starts with a broker that is out of reach, and goes on trying: nobody else would notice.
#[test]
fn settings_are_finished_when_the_broker_has_been_looked_at() {
    let install = fs::read_to_string(root().join("deploy/systemd/install")).expect("text");
    let place = |step: &str| install.rfind(step).unwrap_or_else(|| panic!("there is no `{step}`"));
    let steps =
        ["  check_broker ||", "skein migrate >&2 ||", "skein keys create", "  mv \"$unfinished\""];
    assert!(steps.map(place).is_sorted(), "{steps:?}");
    assert!(install.contains("skein doctor --only broker"), "the broker is not looked at");
}

/// What a user of RabbitMQ must be allowed is what `skein doctor` proposes.
#[test]
fn the_page_names_the_permissions_that_the_program_proposes() {
    let page = fs::read_to_string(root().join("deploy/README.md")).expect("text");
    let names = r"'^(skein\..*|amq\.gen.*)$'";
    let command = format!("rabbitmqctl set_permissions -p VHOST USER {names} {names} {names}\n");
    assert!(page.contains(&command), "{command}");
}

/// Where there is a systemd to ask. What a unit runs need not be on this machine.
#[test]
fn systemd_takes_the_units() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        return;
    }
    let folder = std::env::temp_dir().join(format!("skein-units-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a directory can be made");
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no", "--recursive-errors=no"]);
    for unit in units() {
        let file = folder.join(format!("{}.service", unit.name));
        let text = unit.text.replace(unit.one("ExecStart"), "/bin/true");
        fs::write(&file, text).expect("a file can be written");
        verify.arg(file);
    }
    let verified = verify.output().expect("it was there a moment ago");
    fs::remove_dir_all(&folder).expect("it is ours");
    // It tells of what it does not know by words alone.
    let said = String::from_utf8_lossy(&verified.stderr);
    let about_ours: Vec<_> = said.lines().filter(|line| line.contains("skein-")).collect();
    assert!(verified.status.success() && about_ours.is_empty(), "{said}");
}
