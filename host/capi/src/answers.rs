//! Answers: a thread for each host reads them, and calls back.

use std::ffi::{CString, c_char, c_void};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;

use bytes::Bytes;
use host::contract::requests::RequestHead;
use host::tenant::{Answer, Body, Request, RequestError, Tenant};
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;

use crate::border::{Failure, Status, call, calling_back};
use crate::registry;
use crate::requests::{Header, Resolutions, without_secrets};

/// Who hears an answer. Each may be null. Calls come one after another; after `on_end`, which comes exactly once, none.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Callbacks {
    /// The answer begins: HTTP's status and headers.
    pub on_head:
        Option<unsafe extern "C" fn(user: *mut c_void, status: u16, headers: *const Header, headers_count: usize)>,
    /// A part of the body: send it at once, as one chunk. To ask for the next one is to say that this one is on its way, so
    /// block, or return false to hang up, where the client takes nothing.
    pub on_part: Option<unsafe extern "C" fn(user: *mut c_void, bytes: *const u8, length: usize) -> bool>,
    /// Nothing more will come: POSTBELL_STATUS_OK after the last part; else what happened, and why.
    pub on_end: Option<unsafe extern "C" fn(user: *mut c_void, status: Status, why: *const c_char)>,
    /// What each is given.
    pub user: *mut c_void,
}

// SAFETY: `user` is only given back to the caller, which said that its callbacks run on another thread.
unsafe impl Send for Callbacks {}

impl Callbacks {
    fn head(&self, status: u16, headers: &[(String, String)]) {
        let text = |text: &str| CString::new(text).unwrap_or_default();
        let texts: Vec<_> = headers.iter().map(|(name, value)| (text(name), text(value))).collect();
        let headers = texts.iter().map(|(name, value)| Header { name: name.as_ptr(), value: value.as_ptr() });
        let headers: Vec<_> = headers.collect();
        if let Some(on_head) = self.on_head {
            // SAFETY: it is the caller's function, and the headers live until it returns.
            calling_back(|| unsafe { on_head(self.user, status, headers.as_ptr(), headers.len()) });
        }
    }

    /// Whether to go on.
    fn part(&self, bytes: &[u8]) -> bool {
        // SAFETY: it is the caller's function, and the bytes live until it returns.
        self.on_part.is_none_or(|on_part| calling_back(|| unsafe { on_part(self.user, bytes.as_ptr(), bytes.len()) }))
    }

    fn end(&self, status: Status, why: &str) {
        let why = CString::new(why.replace('\0', " ")).unwrap_or_default();
        if let Some(on_end) = self.on_end {
            // SAFETY: it is the caller's function, and the text lives until it returns.
            calling_back(|| unsafe { on_end(self.user, status, why.as_ptr()) });
        }
    }
}

/// Ends an answer early.
#[derive(Clone)]
pub struct HangUp(Arc<Mutex<Option<oneshot::Sender<()>>>>);

impl HangUp {
    /// With what hears of it.
    pub fn new() -> (HangUp, oneshot::Receiver<()>) {
        let (sender, receiver) = oneshot::channel();
        (HangUp(Arc::new(Mutex::new(Some(sender)))), receiver)
    }
}

/// The client has hung up: the plugin hears of it, and `on_end` comes with POSTBELL_STATUS_HUNG_UP, if it is not on its way
/// already. May be called from within a callback.
#[unsafe(no_mangle)]
pub extern "C" fn postbell_hang_up(answer: u64) -> Status {
    call(|| {
        let HangUp(sender) = registry::answer(answer)?;
        let sender = sender.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        // An error means that the answer has just ended by itself.
        let _ = sender.map(|sender| sender.send(()));
        Ok(())
    })
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The thread that reads answers.
#[derive(Clone)]
pub struct Worker {
    tasks: mpsc::UnboundedSender<Option<Task>>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Worker {
    /// Starts it.
    ///
    /// # Panics
    ///
    /// The operating system gives no thread.
    pub fn start() -> Worker {
        let (tasks, mut given) = mpsc::unbounded_channel::<Option<Task>>();
        let read = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without I/O");
            let reading = LocalSet::new();
            runtime.block_on(reading.run_until(async {
                while let Some(Some(task)) = given.recv().await {
                    tokio::task::spawn_local(task);
                }
            }));
            // What is still read comes to its end, because the tenants are closed.
            runtime.block_on(reading);
        };
        let thread = std::thread::Builder::new().name("postbell-answers".into()).spawn(read);
        let thread = thread.expect("the operating system gives a thread");
        Worker { tasks, thread: Arc::new(Mutex::new(Some(thread))) }
    }

    /// Has a task run.
    pub fn run(&self, task: impl Future<Output = ()> + Send + 'static) -> Result<(), Failure> {
        let closed = || Failure::new(Status::Closed, "the host is closed");
        self.tasks.send(Some(Box::pin(task))).map_err(|_| closed())
    }

    /// Waits until every task has ended; takes no further one.
    pub fn stop(&self) {
        // An error means that it has stopped already.
        let _ = self.tasks.send(None);
        let thread = self.thread.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic there was reported there.
            let _ = thread.join();
        }
    }
}

/// What a request comes to.
type Asking = Pin<Box<dyn Future<Output = Result<Answer, RequestError>> + Send>>;

/// A request that was handed to its tenant: whatever the caller does next comes after it.
pub struct Asked {
    tenant: Tenant,
    head: RequestHead,
    body: Bytes,
    asking: Asking,
    callbacks: Callbacks,
}

impl Asked {
    /// Hands a request over. The plugin sees the body without its secrets, whatever the caller did with them. Blocks as
    /// long as `identify` takes.
    pub fn hand_over(tenant: Tenant, mut request: Request, resolutions: Resolutions, callbacks: Callbacks) -> Asked {
        let (head, body) = (request.head.clone(), request.body.clone());
        let asking: Asking = match pollster::block_on(tenant.identify(&head, &body)) {
            Err(error) => Box::pin(std::future::ready(Err(error))),
            Ok(claims) => {
                request.body = without_secrets(&body, &claims.secrets);
                (request.act_as, request.accounts) = resolutions.of(&claims);
                let tenant = tenant.clone();
                begun(Box::pin(async move { tenant.request(request).await }))
            }
        };
        Asked { tenant, head, body, asking, callbacks }
    }

    /// Reads the answer with this handle to its end.
    pub async fn read(mut self, handle: u64, hung_up: oneshot::Receiver<()>) {
        let callbacks = self.callbacks;
        let (status, why) = tokio::select! {
            ended = self.answer() => ended,
            _ = hung_up => (Status::HungUp, "the client hung up".to_owned()),
        };
        // What was asked is dropped: so the plugin hears before the caller does.
        drop(self);
        registry::remove(handle);
        callbacks.end(status, &why);
    }

    async fn answer(&mut self) -> (Status, String) {
        match (&mut self.asking).await {
            Ok(answer) => self.tell(answer).await,
            Err(RequestError::Refused(why)) => {
                let reply = self.tenant.refuse(&self.head, &self.body, why).await;
                self.callbacks.head(reply.status, &reply.headers);
                self.callbacks.part(&reply.body);
                (Status::Ok, String::new())
            }
            Err(RequestError::Closed(why)) => (Status::Closed, why),
        }
    }

    async fn tell(&mut self, answer: Answer) -> (Status, String) {
        self.callbacks.head(answer.status, &answer.headers);
        let done = (Status::Ok, String::new());
        match answer.body {
            Body::Whole(bytes) => {
                self.callbacks.part(&bytes);
                done
            }
            Body::Parts(mut parts) => loop {
                match parts.next().await {
                    Some(Ok(bytes)) if bytes.is_empty() || self.callbacks.part(&bytes) => {}
                    Some(Ok(_)) => return (Status::HungUp, "the callback hung up".to_owned()),
                    Some(Err(closed)) => return (Status::Closed, closed.to_string()),
                    None => return done,
                }
            },
        }
    }
}

/// A future whose first step was taken here: the rest of it, for another thread.
fn begun(mut asking: Asking) -> Asking {
    match asking.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(ended) => Box::pin(std::future::ready(ended)),
        Poll::Pending => asking,
    }
}
