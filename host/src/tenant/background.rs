//! Threads for what must not hold up a shard: the pure functions of plugins, replays, followers.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// Hands jobs to the threads, which end when the last handle is gone; jobs that wait then are dropped.
#[derive(Clone)]
pub(crate) struct Background {
    handle: Arc<Handle>,
}

struct Handle(Arc<Queue>);

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    /// With the tenant that each is for.
    jobs: VecDeque<(u64, Job)>,
    closed: bool,
}

impl Background {
    /// Starts `threads` threads that are called `name`.
    pub(crate) fn start(name: &str, threads: usize) -> Background {
        let queue = Arc::<Queue>::default();
        for _ in 0..threads {
            let queue = queue.clone();
            std::thread::Builder::new()
                .name(name.into())
                .spawn(move || queue.work())
                .expect("the operating system gives a thread at start");
        }
        Background { handle: Arc::new(Handle(queue)) }
    }

    /// Queues a job of this tenant's.
    pub(crate) fn submit(&self, tenant: u64, job: impl FnOnce() + Send + 'static) {
        self.handle.0.lock().jobs.push_back((tenant, Box::new(job)));
        self.handle.0.changed.notify_one();
    }

    /// Lets the jobs of this tenant that still wait begin before all others.
    pub(crate) fn hurry(&self, tenant: u64) {
        let mut waiting = self.handle.0.lock();
        let (first, others): (VecDeque<_>, _) = waiting.jobs.drain(..).partition(|(of, _)| *of == tenant);
        waiting.jobs = first;
        waiting.jobs.extend(others);
    }

    /// Runs a job and gives its result.
    pub(crate) async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (respond, response) = oneshot::channel();
        self.submit(0, move || drop(respond.send(job())));
        response.await.expect("a job runs to its end as long as there is a handle")
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.changed.notify_all();
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("nothing panics while this lock is held")
    }

    fn work(&self) {
        while let Some(job) = self.next() {
            job();
        }
    }

    fn next(&self) -> Option<Job> {
        let waiting = self.lock();
        let idle = |waiting: &mut Waiting| waiting.jobs.is_empty() && !waiting.closed;
        let mut waiting = self.changed.wait_while(waiting, idle).expect("nothing panics while this lock is held");
        if waiting.closed {
            // Dropped outside of the lock: a job may hold a handle.
            let dropped = std::mem::take(&mut waiting.jobs);
            drop(waiting);
            drop(dropped);
            return None;
        }
        waiting.jobs.pop_front().map(|(_, job)| job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn who_is_in_a_hurry_comes_first() {
        let background = Background::start("test", 1);
        let (begin, began) = channel();
        let (done, dones) = channel();
        background.submit(0, move || began.recv().expect("the test says when"));
        for tenant in [1, 2, 3, 2] {
            let done = done.clone();
            background.submit(tenant, move || done.send(tenant).expect("the test listens"));
        }
        background.hurry(2);
        begin.send(()).expect("the first job waits");
        drop(done);
        assert_eq!(dones.iter().take(4).collect::<Vec<_>>(), [2, 2, 1, 3]);
    }
}
