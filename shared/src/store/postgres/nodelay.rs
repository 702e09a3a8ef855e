//! `TCP_NODELAY` on the driver's sockets.
//!
//! sqlx 0.9.0 leaves Nagle's algorithm on and shows its socket to nobody (launchbadge/sqlx#4335). A
//! statement that leaves in two segments then waits up to 40 ms for an acknowledgement that the server's
//! kernel is in no hurry to send; that halves the throughput of a batcher. So the process looks through its
//! own descriptors for connections to the database's port and sets the option itself.
//!
//! To be deleted with the first sqlx release that sets it (the repair is merged, #4336).

#[cfg(not(target_os = "linux"))]
use std::io;

#[cfg(target_os = "linux")]
pub(super) use linux::set;

/// Nothing that can be done safely is known for this system.
#[cfg(not(target_os = "linux"))]
pub(super) fn set(_port: u16) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(target_os = "linux")]
mod linux {
    use std::net::TcpStream;
    use std::os::fd::RawFd;
    use std::{fs, io};

    use rustix::io::Errno;
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

    /// Sends small segments at once on every TCP connection of this process to `port`.
    ///
    /// # Errors
    /// Where the kernel is older than Linux 5.6 or a sandbox forbids `pidfd_getfd`: the connections work as
    /// they are, only slower.
    pub(in super::super) fn set(port: u16) -> io::Result<()> {
        let this_process = pidfd_open(getpid(), PidfdFlags::empty())?;
        for entry in fs::read_dir("/proc/self/fd")? {
            let entry = entry?;
            let is_socket = fs::read_link(entry.path())
                .is_ok_and(|target| target.as_os_str().as_encoded_bytes().starts_with(b"socket:"));
            let descriptor = entry.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok());
            let Some(descriptor) = descriptor.filter(|_| is_socket) else { continue };
            // A duplicate, which is closed again; the option belongs to the socket that both name.
            let socket = match pidfd_getfd(&this_process, descriptor, PidfdGetfdFlags::empty()) {
                Ok(socket) => socket,
                Err(Errno::BADF) => continue, // closed since it was listed
                Err(error) => return Err(error.into()),
            };
            let stream = TcpStream::from(socket);
            if stream.peer_addr().is_ok_and(|peer| peer.port() == port) {
                stream.set_nodelay(true)?;
            }
        }
        Ok(())
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn connections_to_the_port_send_at_once_and_others_stay_as_they_are() {
        let [database, other] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [to_database, to_other] = [&database, &other]
            .map(|listener| TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        assert!(!to_database.nodelay().unwrap());
        super::set(database.local_addr().unwrap().port()).unwrap();
        assert!(to_database.nodelay().unwrap());
        assert!(!to_other.nodelay().unwrap());
    }
}
