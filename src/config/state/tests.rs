//! Tests of the state directory.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use tempfile::TempDir;

use super::*;

fn state_dir() -> (TempDir, StateDir) {
    let folder = tempfile::tempdir().unwrap();
    let state = StateDir::open(&folder.path().join("deep/state")).unwrap();
    (folder, state)
}

fn login() -> Login {
    Login {
        server: "http://127.0.0.1:8420".parse().unwrap(),
        token: "secret-token".parse().unwrap(),
        ca_file: Some("/etc/ca.pem".into()),
    }
}

#[test]
fn a_state_directory_is_private() {
    let (_folder, state) = state_dir();
    assert_eq!(fs::metadata(state.root()).unwrap().mode() & 0o777, 0o700);
    assert!(state.root().is_absolute());
}

#[test]
fn a_directory_that_others_can_write_to_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for mode in [0o770, 0o702, 0o1777] {
        fs::set_permissions(folder.path(), Permissions::from_mode(mode)).unwrap();
        let refused = StateDir::open(folder.path()).unwrap_err();
        assert!(
            matches!(refused, ConfigError::Writable { .. }),
            "{mode:o}: {refused}"
        );
        assert!(refused.to_string().contains("chmod go-w"), "{refused}");
    }
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    StateDir::open(folder.path()).unwrap();
}

#[test]
fn a_directory_of_another_user_or_a_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(matches!(
        StateDir::open(&file),
        Err(ConfigError::NotADirectory(_))
    ));
    assert!(matches!(
        StateDir::open(&file.join("below")),
        Err(ConfigError::Io { .. })
    ));

    // A directory of another user: `/`, or for root one whose owner was changed.
    let foreign = if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(folder.path(), Some(65534), None).unwrap();
        folder.path()
    } else {
        Path::new("/")
    };
    assert!(matches!(
        StateDir::open(foreign),
        Err(ConfigError::ForeignOwner { .. })
    ));
}

#[test]
fn a_second_process_gets_the_process_id_of_the_first() {
    let (_folder, state) = state_dir();
    let lock = state.lock().unwrap();
    let refused = state.lock().unwrap_err();
    assert!(
        matches!(refused, ConfigError::InUse { holder: Some(pid), .. } if pid == std::process::id()),
        "{refused}"
    );
    drop(lock);
    state.lock().unwrap();
}

#[test]
fn a_saved_login_is_read_again_and_private() {
    let (_folder, state) = state_dir();
    assert_eq!(state.saved_login().unwrap(), None);
    // Left by a crash, readable by everybody.
    fs::write(state.root().join("login.json.new"), "half").unwrap();
    state.save_login(&login()).unwrap();
    let file = state.root().join("login.json");
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    assert_eq!(state.saved_login().unwrap(), Some(login()));
    let other = Login {
        ca_file: None,
        ..login()
    };
    state.save_login(&other).unwrap();
    assert_eq!(state.saved_login().unwrap(), Some(other));
}

#[test]
fn the_login_file_of_version_1_is_read() {
    let (_folder, state) = state_dir();
    let golden = r#"{"version":1,"server":"http://127.0.0.1:8420","token":"secret-token","ca_file":"/etc/ca.pem"}"#;
    fs::write(state.root().join("login.json"), golden).unwrap();
    assert_eq!(state.saved_login().unwrap(), Some(login()));

    fs::write(
        state.root().join("login.json"),
        golden.replace("\"version\":1", "\"version\":2"),
    )
    .unwrap();
    assert!(matches!(
        state.saved_login(),
        Err(ConfigError::Version { version: 2, .. })
    ));
    fs::write(
        state.root().join("login.json"),
        golden.replace("secret-token", "two words"),
    )
    .unwrap();
    assert!(matches!(
        state.saved_login(),
        Err(ConfigError::Token { .. })
    ));
    fs::write(state.root().join("login.json"), "{").unwrap();
    assert!(matches!(
        state.saved_login(),
        Err(ConfigError::Content { .. })
    ));
}

#[test]
fn the_control_socket_has_a_short_path_wherever_the_directory_is() {
    let folder = tempfile::tempdir().unwrap();
    let short = folder.path().canonicalize().unwrap();
    let runtime = short.join("run");
    assert_eq!(
        socket_of(&short, Some(&runtime)).unwrap(),
        short.join("control.sock")
    );

    let [long, other] = ["l", "o"].map(|letter| short.join(letter.repeat(120)));
    let socket = socket_of(&long, Some(&runtime)).unwrap();
    assert!(socket.starts_with(&runtime), "{socket:?}");
    assert!(fits(&socket));
    assert_ne!(socket, socket_of(&other, Some(&runtime)).unwrap());
    assert_eq!(
        fs::metadata(socket.parent().unwrap()).unwrap().mode() & 0o777,
        0o700
    );
    std::os::unix::net::UnixListener::bind(&socket).unwrap();

    fs::set_permissions(runtime.join("heirloom"), Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(
        socket_of(&long, Some(&runtime)),
        Err(ConfigError::Writable { .. })
    ));
}
