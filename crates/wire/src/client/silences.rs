//! Silences, by Alertmanager's API, which writes its errors in another form.
//!
//! Invariant: what the control plane refuses is a refusal here too, whichever form it came in.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use model::Refusal;
use model::refusal::Code;
use serde::Deserialize;

use super::{ANSWER_BYTES_MAX, ANSWER_WITHIN, Answer, Client, ClientError, refused};
use crate::api::SilenceView;

/// What it answers when a silence is set.
#[derive(Debug, Deserialize)]
struct Given {
    #[serde(rename = "silenceID")]
    id: String,
}

/// Its errors: validation says a bare string, the rest a table.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Said {
    Words(String),
    Table { message: String },
}

impl Client {
    /// All silences, also those that are over.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn silences(&self) -> Result<Vec<SilenceView>, ClientError> {
        self.get("/am/api/v2/silences").await
    }

    /// Sets a silence and gives its id.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn silence(&self, silence: &SilenceView) -> Result<String, ClientError> {
        let body = serde_json::to_vec(silence)
            .map_err(|error| ClientError::Setup(format!("request can't be written: {error}")))?;
        let path = "/am/api/v2/silences";
        let given: Given = self
            .alertmanager(Method::POST, path, body.into())
            .await?
            .json()?;
        Ok(given.id)
    }

    /// Ends a silence.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn expire_silence(&self, id: &str) -> Result<(), ClientError> {
        // What is no id of a silence must not become another path.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if id.is_empty() || !id.bytes().all(plain) {
            let words = format!("{id:?} is no id of a silence");
            return Err(no(Code::BadRequest, words, StatusCode::BAD_REQUEST));
        }
        let path = format!("/am/api/v2/silence/{id}");
        let answer = self.alertmanager(Method::DELETE, &path, Bytes::new()).await;
        answer.map(drop)
    }

    async fn alertmanager(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Answer, ClientError> {
        let request = self
            .request(method, path, body, ANSWER_WITHIN)
            .header(CONTENT_TYPE, "application/json");
        let answer = self.exchange(path, request, ANSWER_BYTES_MAX).await?;
        let status = answer.status;
        if status.is_success() {
            return Ok(answer);
        }
        if status == StatusCode::NOT_FOUND && answer.body.is_empty() {
            let words = "there is no such silence".to_owned();
            return Err(no(Code::NotFound, words, status));
        }
        match serde_json::from_slice(&answer.body) {
            Ok(Said::Words(words) | Said::Table { message: words }) if status.is_client_error() => {
                Err(no(Code::BadRequest, words, status))
            }
            _ => Err(refused(&answer.url, status, &answer.body)),
        }
    }
}

fn no(code: Code, words: String, status: StatusCode) -> ClientError {
    let next = "`plimsoll silence list` shows those that there are; `plimsoll silence add --help` has examples.";
    ClientError::Refused {
        refusal: Refusal::new(code, words, next),
        status: status.as_u16(),
    }
}
