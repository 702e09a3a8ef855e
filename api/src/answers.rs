//! The bodies of answers: counted from the first byte that is written into one until the socket has taken the last.
//!
//! A client that asks for much and reads little makes the server hold it. So what is held for a key has a limit, and
//! so has what is held for all of them. Beyond it a request is refused, mostly before the store is asked.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::extract::{FromRef, FromRequestParts};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use hyper::body::{Frame, SizeHint};
use serde::Serialize;
use skein_shared::store::keys::KeyDigest;

use crate::auth::Holder;
use crate::limits::{
    ANSWER_CHUNK_BYTES, ANSWER_ROOM_BYTES_MIN, LARGE_ANSWER_BYTES, LARGE_READ_TIMEOUT,
    LARGE_READS_MAX,
};
use crate::problem::{Problem, ProblemKind};
use crate::read_permits::{ReadPermit, ReadPermits};
use crate::shares::{Shares, Taken};

/// What all answers share.
#[derive(Clone)]
pub(crate) struct AnswerRoom {
    bytes: Arc<Shares<KeyDigest>>,
    /// Turns at reading something large out of the store: it is in memory several times until it has become an answer.
    permits: Arc<ReadPermits<KeyDigest>>,
}

impl AnswerRoom {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes: Shares::new(bytes_max), permits: Arc::new(ReadPermits::new(LARGE_READS_MAX)) }
    }
}

/// Writes the answers to one key.
pub(crate) struct Answers {
    room: AnswerRoom,
    holder: KeyDigest,
}

impl<S: Sync> FromRequestParts<S> for Answers
where
    AnswerRoom: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Holder(holder) = Holder::of(&parts.extensions)?;
        Ok(Self { room: AnswerRoom::from_ref(state), holder })
    }
}

impl Answers {
    /// Waits for a turn at reading something large, to be kept until it has become an answer.
    ///
    /// # Errors
    /// When the key's answers that are still being sent leave no room for another one, or many others are before.
    pub(crate) async fn permit(&self) -> Result<ReadPermit, Problem> {
        self.check_room_for_another()?;
        let permit = self.room.permits.take(&self.holder);
        let Ok(permit) = tokio::time::timeout(LARGE_READ_TIMEOUT, permit).await else {
            return Err(Problem::new(ProblemKind::Overloaded, "others are reading; try again"));
        };
        // Those before may have used it up.
        self.check_room_for_another()?;
        permit.map_err(Problem::internal)
    }

    /// Whether there is room for a large answer, or for any where it is the only one: else most of what is read would
    /// be thrown away.
    fn check_room_for_another(&self) -> Result<(), Problem> {
        let bytes = &self.room.bytes;
        let is_first = !bytes.is_held_by(&self.holder);
        if is_first || bytes.has_room(&self.holder, LARGE_ANSWER_BYTES) {
            return self.check_room();
        }
        Err(too_many())
    }

    /// The key that is answered.
    pub(crate) fn holder(&self) -> &KeyDigest {
        &self.holder
    }

    /// Whether there is room for an answer of some size.
    ///
    /// # Errors
    /// When there is not: what is read or done for it would be lost on the way.
    pub(crate) fn check_room(&self) -> Result<(), Problem> {
        if self.room.bytes.has_room(&self.holder, ANSWER_ROOM_BYTES_MIN) {
            return Ok(());
        }
        Err(too_many())
    }

    /// A JSON answer.
    ///
    /// # Errors
    /// When there is no room for it.
    pub(crate) fn json(
        &self,
        status: StatusCode,
        body: &(impl Serialize + ?Sized),
    ) -> Result<Response, Problem> {
        let mut writer =
            Writer { answers: self, done: VecDeque::new(), open: None, refused: false };
        if let Err(error) = serde_json::to_writer(&mut writer, body) {
            return Err(if writer.refused { too_many() } else { Problem::internal(error) });
        }
        writer.close();
        let mut response = Response::new(Body::new(Chunks::new(writer.done)));
        *response.status_mut() = status;
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        Ok(response)
    }
}

impl Answers {
    /// A part of an answer that is written bit by bit; `None` when there is no room for it.
    pub(crate) fn part(&self, bytes: Vec<u8>) -> Option<Bytes> {
        let room = self.room.bytes.take(&self.holder, bytes.capacity())?;
        Some(Bytes::from_owner(Chunk { bytes, room }))
    }
}

fn too_many() -> Problem {
    let detail = "answers to this key that are still being sent take all of its room; read them, or fewer at a time";
    Problem::new(ProblemKind::Overloaded, detail)
}

/// A part of an answer and the room that it takes, which is given back when the socket has taken all of it.
struct Chunk {
    bytes: Vec<u8>,
    room: Taken<KeyDigest>,
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Bytes that a run just accepted fits in, and that allocators still have at hand: glibc's cache per thread ends at 1,032,
/// and growing beyond it costs as much as all that is written.
const SMALL_ANSWER_BYTES: usize = 1_000;

/// Writes an answer in parts, so that it is never copied and is given back part by part.
struct Writer<'a> {
    answers: &'a Answers,
    done: VecDeque<Bytes>,
    open: Option<Chunk>,
    refused: bool,
}

impl Writer<'_> {
    fn open(&mut self) -> io::Result<&mut Chunk> {
        if self.open.is_none() {
            let room = self.answers.room.bytes.take(&self.answers.holder, ANSWER_CHUNK_BYTES);
            let Some(room) = room else {
                self.refused = true;
                return Err(io::ErrorKind::OutOfMemory.into());
            };
            // Most answers are small, the parts of large ones are full.
            let first = self.done.is_empty();
            let capacity = if first { SMALL_ANSWER_BYTES } else { ANSWER_CHUNK_BYTES };
            self.open = Some(Chunk { bytes: Vec::with_capacity(capacity), room });
        }
        self.open.as_mut().ok_or_else(|| io::ErrorKind::Other.into())
    }

    fn close(&mut self) {
        if let Some(mut chunk) = self.open.take() {
            chunk.room.shrink_to(chunk.bytes.capacity());
            self.done.push_back(Bytes::from_owner(chunk));
        }
    }
}

impl io::Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let chunk = self.open()?;
        let fits = bytes.len().min(ANSWER_CHUNK_BYTES - chunk.bytes.len());
        chunk.bytes.extend_from_slice(&bytes[..fits]);
        if chunk.bytes.len() == ANSWER_CHUNK_BYTES {
            self.close();
        }
        Ok(fits)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The parts of an answer that have not been handed to the connection.
struct Chunks {
    left: VecDeque<Bytes>,
    bytes: u64,
}

impl Chunks {
    fn new(left: VecDeque<Bytes>) -> Self {
        let bytes = left.iter().map(|chunk| chunk.len() as u64).sum();
        Self { left, bytes }
    }
}

impl hyper::body::Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.left.pop_front();
        self.bytes -= next.as_ref().map_or(0, |chunk| chunk.len() as u64);
        Poll::Ready(next.map(|chunk| Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;

    fn answers(room: &AnswerRoom, key: u8) -> Answers {
        Answers { room: room.clone(), holder: [key; 32] }
    }

    #[tokio::test]
    async fn an_answer_takes_room_until_its_parts_are_gone() {
        let room = AnswerRoom::new(4 * MIB);
        let (ada, bob) = (answers(&room, 1), answers(&room, 2));
        let text = "x".repeat(MIB + MIB / 2);
        let first = ada.json(StatusCode::OK, &text).unwrap();
        let second = ada.json(StatusCode::OK, &text);
        assert_eq!(second.unwrap_err().kind(), ProblemKind::Overloaded);
        assert!(bob.permit().await.is_ok() && bob.json(StatusCode::OK, &text[..MIB]).is_ok());
        let mut body = first.into_body().into_data_stream();
        let mut held = Vec::new();
        while let Some(part) = futures_util::StreamExt::next(&mut body).await {
            held.push(part.unwrap());
        }
        // The connection has all of it, the socket none.
        assert!(ada.json(StatusCode::OK, &text).is_err());
        assert_eq!(held.iter().map(Bytes::len).sum::<usize>(), text.len() + 2);
        held.truncate(4);
        assert!(ada.json(StatusCode::OK, &text).is_ok());
    }

    #[tokio::test]
    async fn no_turn_is_given_to_a_key_whose_answers_fill_its_room() {
        let room = AnswerRoom::new(2 * MIB);
        let (ada, bob) = (answers(&room, 1), answers(&room, 2));
        let _unread = ada.json(StatusCode::OK, &"x".repeat(MIB - MIB / 16)).unwrap();
        assert_eq!(ada.permit().await.unwrap_err().kind(), ProblemKind::Overloaded);
        assert!(bob.permit().await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_with_one_key_is_not_before_everybody_else() {
        let room = AnswerRoom::new(64 * MIB);
        let (ada, bob) = (answers(&room, 1), answers(&room, 2));
        let mut first_of_crowd = Vec::new();
        for _ in 0..LARGE_READS_MAX / 2 {
            first_of_crowd.push(ada.permit().await.unwrap());
        }
        let crowd = futures_util::future::join_all((0..50).map(|_| ada.permit()));
        let first = async {
            tokio::task::yield_now().await;
            futures_util::FutureExt::now_or_never(bob.permit()).is_some_and(|permit| permit.is_ok())
        };
        let (crowd, first) = tokio::join!(crowd, first);
        assert!(first && crowd.iter().all(Result::is_err));
        assert!(ada.permit().await.is_err() && bob.permit().await.is_ok());
    }

    #[test]
    fn an_answer_says_how_long_it_is() {
        let room = AnswerRoom::new(MIB);
        let response = answers(&room, 1).json(StatusCode::OK, &vec!["a"; 20_000]).unwrap();
        let hint = hyper::body::Body::size_hint(response.body());
        assert_eq!(hint.exact(), Some(80_001));
    }
}
