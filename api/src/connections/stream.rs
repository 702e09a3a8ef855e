//! A socket that gives up on a client that keeps it waiting: for its first byte, for the rest of its headers, for its
//! next request, or for taking what it has asked for.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::permits::Idle;
use super::state::{ConnectionState, Phase};

/// How long a connection waits for its client.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeouts {
    /// For the first byte.
    pub(super) first_byte: Duration,
    /// From there, for all of a request's headers.
    pub(super) head: Duration,
    /// For the next request.
    pub(super) idle: Duration,
    /// For the client to take anything of what is written.
    pub(super) write: Duration,
    /// Bytes that it must take in a second, on average.
    pub(super) write_rate: u32,
}

impl Timeouts {
    /// How long a phase may last; `None` where others see to that.
    fn of(&self, phase: Phase) -> Option<Duration> {
        match phase {
            Phase::Idle(Idle::Silent) => Some(self.first_byte),
            Phase::Idle(Idle::Head) => Some(self.head),
            Phase::Idle(Idle::Kept) | Phase::Answered => Some(self.idle),
            Phase::Serving => None,
        }
    }
}

/// A stream that gives up.
#[derive(Debug)]
pub(super) struct TimeoutStream<S> {
    stream: S,
    state: Arc<ConnectionState>,
    timeouts: Timeouts,
    reading: Timer,
    /// The phase that the timer is set for.
    timed: Option<u64>,
    writing: Timer,
    /// When the client will have taken too little for too long, while something waits to be taken.
    write_until: Option<Instant>,
}

impl<S> TimeoutStream<S> {
    pub(super) fn new(stream: S, state: Arc<ConnectionState>, timeouts: Timeouts) -> Self {
        Self {
            stream,
            state,
            timeouts,
            reading: Timer::default(),
            timed: None,
            writing: Timer::default(),
            write_until: None,
        }
    }

    fn poll_reading(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (phase, number) = self.state.phase();
        let Some(limit) = self.timeouts.of(phase) else { return Poll::Pending };
        if self.timed != Some(number) {
            self.timed = Some(number);
            self.reading.set(Instant::now() + limit);
        }
        self.reading.poll(cx)
    }

    /// Each byte that is taken buys the time that it may take, up to the time that nothing may be taken for.
    fn took(&mut self, bytes: usize) {
        let Some(until) = self.write_until else { return };
        let bought = Duration::from_secs_f64(bytes as f64 / f64::from(self.timeouts.write_rate));
        self.write_until = Some((until + bought).min(Instant::now() + self.timeouts.write));
    }

    fn poll_writing(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let limit = self.timeouts.write;
        let until = *self.write_until.get_or_insert_with(|| Instant::now() + limit);
        self.writing.set(until);
        self.writing.poll(cx)
    }

    fn poll_taken(
        &mut self,
        cx: &mut Context<'_>,
        taken: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match taken {
            Poll::Ready(Ok(bytes)) => self.took(bytes),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => ready!(self.poll_writing(cx))?,
        }
        taken
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TimeoutStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, buffer) {
            Poll::Ready(read) => {
                if buffer.filled().len() > before {
                    self.state.heard();
                }
                // Bytes that come one by one are no reason to wait any longer.
                if let Poll::Ready(Err(error)) = self.poll_reading(cx) {
                    return Poll::Ready(Err(error));
                }
                Poll::Ready(read)
            }
            Poll::Pending => self.poll_reading(cx),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TimeoutStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let taken = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.poll_taken(cx, taken)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let taken = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.poll_taken(cx, taken)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Called when nothing is left to be written.
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.write_until = None;
        self.state.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A point in time that is waited for; made when it is needed first, because most connections need none of them.
#[derive(Debug, Default)]
struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    fn set(&mut self, until: Instant) {
        match &mut self.0 {
            Some(sleep) if sleep.deadline() == until => {}
            Some(sleep) => sleep.as_mut().reset(until),
            None => self.0 = Some(Box::pin(sleep_until(until))),
        }
    }

    /// An error once the time is up.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(sleep) = &mut self.0 else { return Poll::Pending };
        ready!(sleep.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::sleep;

    use super::super::permits::Permits;
    use super::*;

    const TIMEOUTS: Timeouts = Timeouts {
        first_byte: Duration::from_secs(10),
        head: Duration::from_secs(20),
        idle: Duration::from_secs(60),
        write: Duration::from_secs(30),
        write_rate: 1024,
    };

    fn streams() -> (TimeoutStream<DuplexStream>, Arc<ConnectionState>, DuplexStream) {
        let (server, client) = duplex(1024);
        let permit = Permits::reserved(1).take(Ipv4Addr::LOCALHOST.into()).unwrap();
        let state = Arc::new(ConnectionState::new(permit));
        (TimeoutStream::new(server, Arc::clone(&state), TIMEOUTS), state, client)
    }

    /// How long a client can keep the server writing that takes this much each second, of an answer of 100 KiB.
    async fn written_for(taken: usize) -> (bool, u64) {
        let (mut server, state, mut client) = streams();
        state.serve();
        let reader = tokio::spawn(async move {
            let mut buffer = vec![0; taken];
            while client.read_exact(&mut buffer).await.is_ok() {
                sleep(Duration::from_secs(1)).await;
            }
        });
        let began = Instant::now();
        let written = server.write_all(&[0; 100 * 1024]).await;
        let seconds = began.elapsed().as_secs();
        reader.abort();
        (written.is_ok(), seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_has_to_take_something_and_not_too_little() {
        for taken in [2048, 1024] {
            assert!(written_for(taken).await.0, "{taken}");
        }
        for taken in [1, 100] {
            let (written, seconds) = written_for(taken).await;
            assert!(!written && seconds < 120, "{taken}: {seconds}");
        }
        let (mut server, state, _client) = streams();
        state.serve();
        let began = Instant::now();
        assert!(server.write_all(&[0; 2048]).await.is_err());
        assert_eq!(began.elapsed(), TIMEOUTS.write);
    }

    #[tokio::test(start_paused = true)]
    async fn each_wait_for_a_client_has_its_own_end() {
        let (mut server, state, mut client) = streams();
        let (began, mut buffer) = (Instant::now(), [0; 8]);
        assert!(server.read(&mut buffer).await.is_err());
        assert_eq!(began.elapsed(), TIMEOUTS.first_byte);
        state.serve();
        state.heard();
        let waits = tokio::time::timeout(Duration::from_secs(3600), server.read(&mut buffer));
        assert!(waits.await.is_err(), "a request that is being served is the handlers' matter");
        state.answered();
        server.flush().await.unwrap();
        for (byte, limit) in [(None, TIMEOUTS.idle), (Some(b'G'), TIMEOUTS.head)] {
            if let Some(byte) = byte {
                client.write_all(&[byte]).await.unwrap();
                assert_eq!(server.read(&mut buffer).await.unwrap(), 1);
            }
            let began = Instant::now();
            assert!(server.read(&mut buffer).await.is_err());
            assert_eq!(began.elapsed(), limit);
        }
    }
}
