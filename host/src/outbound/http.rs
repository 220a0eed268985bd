//! One POST, with its redirects, each judged like the first address.

use reqwest::header::{HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::{Client, StatusCode, Url, header};

use super::names::{Guarded, Refused, refusal};
use super::{HttpTarget, Outcome, Response};

/// How many redirects are followed.
const MOST_REDIRECTS: usize = 3;

/// What belongs to the connection or to the framing of the body is the host's to say.
const OWN_HEADERS: [HeaderName; 9] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::DATE,
    header::HOST,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
];

/// Makes the call. Only 307 and 308 are followed: any other redirect would turn a POST into something else, and is an
/// answer like all others.
pub(super) async fn post(
    client: &Client,
    guarded: &Guarded,
    target: &HttpTarget,
    body: Vec<u8>,
    answer_bytes: usize,
) -> Result<Outcome, Refused> {
    let mut url = Url::parse(&target.url).map_err(|error| Refused(format!("the URL is none: {error}")))?;
    let headers = headers(&target.headers);
    for _ in 0..=MOST_REDIRECTS {
        judge(&url, guarded)?;
        let sent = client.post(url.clone()).headers(headers.clone()).body(body.clone()).send().await;
        let answer = match sent {
            Ok(answer) => answer,
            Err(error) => return failed(&error),
        };
        match redirect(&answer, &url)? {
            Some(next) => url = next,
            None => return read(answer, answer_bytes).await,
        }
    }
    Ok(Outcome::Failed(format!("more than {MOST_REDIRECTS} redirects")))
}

fn headers(given: &[(String, String)]) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for (name, value) in given {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value))
            && !OWN_HEADERS.contains(&name)
        {
            kept.append(name, value);
        }
    }
    kept
}

/// What can be judged before a name is resolved. (Addresses in a URL never come to the resolver.)
fn judge(url: &Url, guarded: &Guarded) -> Result<(), Refused> {
    if !["http", "https"].contains(&url.scheme()) {
        return Err(Refused(format!("the scheme {} is neither http nor https", url.scheme())));
    }
    let host = url.host_str().unwrap_or_default();
    let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    match literal.parse() {
        Ok(address) => guarded.judge(address),
        Err(_) => Ok(()),
    }
}

fn redirect(answer: &reqwest::Response, from: &Url) -> Result<Option<Url>, Refused> {
    if ![StatusCode::TEMPORARY_REDIRECT, StatusCode::PERMANENT_REDIRECT].contains(&answer.status()) {
        return Ok(None);
    }
    let Some(location) = answer.headers().get(LOCATION).and_then(|location| location.to_str().ok()) else {
        return Ok(None);
    };
    let next = from.join(location).map_err(|error| Refused(format!("a redirect to what is no URL: {error}")))?;
    if from.scheme() == "https" && next.scheme() != "https" {
        return Err(Refused("a redirect from https to http".into()));
    }
    Ok(Some(next))
}

async fn read(mut answer: reqwest::Response, most: usize) -> Result<Outcome, Refused> {
    let (status, mut body) = (answer.status().as_u16(), Vec::new());
    loop {
        match answer.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > most => {
                return Ok(Outcome::Failed(format!("the answer has more than {most} bytes")));
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(Outcome::Answered(Response { status, body })),
            Err(error) => return failed(&error),
        }
    }
}

/// Without the URL, which may hold a secret.
fn failed(error: &reqwest::Error) -> Result<Outcome, Refused> {
    if let Some(refused) = refusal(error) {
        return Err(refused.clone());
    }
    let mut innermost: &dyn std::error::Error = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    Ok(Outcome::Failed(innermost.to_string()))
}
