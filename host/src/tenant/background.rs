//! Threads for what must not hold up a shard: the pure functions of plugins.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// Hands jobs to the threads; they end when the last handle is gone.
#[derive(Clone)]
pub(crate) struct Background {
    jobs: Sender<Job>,
}

impl Background {
    pub(crate) fn start(threads: usize) -> Background {
        let (jobs, waiting) = channel::<Job>();
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..threads {
            let waiting = waiting.clone();
            std::thread::Builder::new()
                .name("postbell-background".into())
                .spawn(move || work(&waiting))
                .expect("the operating system gives a thread at start");
        }
        Background { jobs }
    }

    /// Runs a job and gives its result.
    pub(crate) async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (respond, response) = oneshot::channel();
        let job = move || drop(respond.send(job()));
        self.jobs.send(Box::new(job)).expect("the threads live as long as this handle");
        response.await.expect("a job runs to its end")
    }
}

fn work(waiting: &Mutex<Receiver<Job>>) {
    loop {
        let job = waiting.lock().expect("nothing panics while this lock is held").recv();
        let Ok(job) = job else { return };
        job();
    }
}
