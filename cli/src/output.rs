//! Writing to standard output, which is what was asked for, and to standard error, which is talk beside it.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether there is no talk beside the output. Standard error is the whole process's.
static IS_QUIET: AtomicBool = AtomicBool::new(false);

/// Why something was not printed.
#[derive(Debug, thiserror::Error)]
pub enum PrintError {
    /// Whoever read standard output has read enough: `skein runs | head`.
    #[error("nobody reads the output")]
    Unread,
    /// It could not be written: a full disk.
    #[error("cannot write the output")]
    Failed(#[source] io::Error),
}

/// Writes to standard output.
///
/// # Errors
/// When nobody reads it any more, or it cannot be written.
pub fn print(text: &str) -> Result<(), PrintError> {
    write(&mut io::stdout().lock(), text)
}

/// Writes to standard output what a command may end without: one that waits for a run, or serves, does not
/// end otherwise because nobody reads.
///
/// # Errors
/// When it cannot be written.
pub fn print_if_read(text: &str) -> Result<(), PrintError> {
    if_read(print(text))
}

/// From now on, nothing but errors is written to standard error.
pub fn keep_quiet() {
    IS_QUIET.store(true, Ordering::Relaxed);
}

/// Writes to standard error what goes with the output, unless [`keep_quiet`] was called. When nobody reads that any more,
/// the work goes on in silence.
pub fn print_to_stderr(text: &str) {
    if !IS_QUIET.load(Ordering::Relaxed) {
        print_error(text);
    }
}

/// Writes to standard error what there is to say after an interrupt, as [`print_to_stderr`] does, and on a line of its own:
/// a terminal has put `^C` on the one where the cursor was.
pub fn print_after_interrupt(text: &str) {
    let start = if io::stderr().is_terminal() { "\n" } else { "" };
    print_to_stderr(&format!("{start}{text}"));
}

/// Writes an error to standard error.
pub fn print_error(text: &str) {
    let mut err = io::stderr().lock();
    // There is nowhere left to report it.
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}

fn write(out: &mut impl Write, text: &str) -> Result<(), PrintError> {
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => PrintError::Unread,
        _ => PrintError::Failed(error),
    })
}

fn if_read(printed: Result<(), PrintError>) -> Result<(), PrintError> {
    match printed {
        Err(PrintError::Unread) => Ok(()),
        printed => printed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Refusing(io::ErrorKind);

    impl Write for Refusing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_who_went_is_distinguished_from_a_disk_that_is_full() {
        let unread = || write(&mut Refusing(io::ErrorKind::BrokenPipe), "x");
        let failed = || write(&mut Refusing(io::ErrorKind::StorageFull), "x");
        assert!(matches!(unread(), Err(PrintError::Unread)));
        assert!(matches!(failed(), Err(PrintError::Failed(_))));
        assert!(if_read(unread()).is_ok());
        assert!(if_read(failed()).is_err());
    }
}
