//! Threads for what must not hold up a shard: the pure functions of plugins, replays, followers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use thread_priority::{NormalThreadSchedulePolicy, ThreadPriority, ThreadPriorityValue, ThreadSchedulePolicy};
use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// How the system shares the processor among a queue's threads and all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheduling {
    /// As it does among all.
    Ordinary,
    /// As work that nobody waits for: who wakes such a thread keeps the processor. A shard that hands over an old instance at
    /// a cut-over would otherwise lose it for a millisecond, in the midst of its tenant's inputs.
    Batch,
}

impl Scheduling {
    /// Applies it to the calling thread, which stays as nice as it is.
    fn apply(self) {
        if self == Scheduling::Batch {
            let policy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Batch);
            // An error means that the system does not have this; the thread is as good without.
            if let Some(nice) = niceness(policy) {
                let thread = thread_priority::thread_native_id();
                let _ = thread_priority::set_thread_priority_and_policy(thread, nice, policy);
            }
        }
    }
}

/// How nice the calling thread is, as the policy is told it. On Linux each thread has a niceness of its own.
fn niceness(policy: ThreadSchedulePolicy) -> Option<ThreadPriority> {
    let nice = rustix::process::getpriority_process(None).ok()?;
    let values = (0..=100).filter_map(|value| ThreadPriorityValue::try_from(value).ok());
    values.map(ThreadPriority::Crossplatform).find(|priority| priority.to_posix(policy) == Ok(nice))
}

/// Hands jobs to the threads, which end when the last handle is gone; jobs that wait then are dropped.
#[derive(Clone)]
pub(crate) struct Background {
    handle: Arc<Handle>,
}

struct Handle(Arc<Queue>);

struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    /// How many jobs of one tenant run at once: one thread is always left for others, where there are two.
    most_of_one: usize,
}

/// The jobs of each tenant in their order, and the tenants by turns.
#[derive(Default)]
struct Waiting {
    jobs: BTreeMap<u64, VecDeque<Job>>,
    running: BTreeMap<u64, usize>,
    /// Those with jobs that may begin, in their order, and the same again to be found.
    turns: VecDeque<u64>,
    in_turns: BTreeSet<u64>,
    closed: bool,
}

impl Background {
    /// Starts `threads` threads that are called `name`.
    pub(crate) fn start(name: &str, threads: usize, scheduling: Scheduling) -> Background {
        let most_of_one = threads.saturating_sub(1).max(1);
        let queue = Arc::new(Queue { waiting: Mutex::default(), changed: Condvar::new(), most_of_one });
        for _ in 0..threads {
            let queue = queue.clone();
            std::thread::Builder::new()
                .name(name.into())
                .spawn(move || {
                    scheduling.apply();
                    queue.work();
                })
                .expect("the operating system gives a thread at start");
        }
        Background { handle: Arc::new(Handle(queue)) }
    }

    /// Queues a job of this tenant's, behind its others. Tenants take turns.
    pub(crate) fn submit(&self, tenant: u64, job: impl FnOnce() + Send + 'static) {
        let queue = &self.handle.0;
        let mut waiting = queue.lock();
        waiting.jobs.entry(tenant).or_default().push_back(Box::new(job));
        waiting.give_turn(tenant, queue.most_of_one);
        queue.changed.notify_one();
    }

    /// Lets the jobs of this tenant that still wait begin before all others.
    pub(crate) fn hurry(&self, tenant: u64) {
        let mut waiting = self.handle.0.lock();
        if let Some(turn) = waiting.turns.iter().position(|other| *other == tenant) {
            waiting.turns.remove(turn);
            waiting.turns.push_front(tenant);
        }
    }

    /// Runs a job of this tenant's and gives its result.
    pub(crate) async fn run<T: Send + 'static>(&self, tenant: u64, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (respond, response) = oneshot::channel();
        self.submit(tenant, move || drop(respond.send(job())));
        response.await.expect("a job runs to its end as long as there is a handle")
    }
}

impl Waiting {
    /// The tenant is among those that may begin, if it may.
    fn give_turn(&mut self, tenant: u64, most_of_one: usize) {
        let running = self.running.get(&tenant).copied().unwrap_or(0);
        let waits = self.jobs.get(&tenant).is_some_and(|jobs| !jobs.is_empty());
        if waits && running < most_of_one && self.in_turns.insert(tenant) {
            self.turns.push_back(tenant);
        }
    }

    /// The next job, and whose it is.
    fn begin(&mut self, most_of_one: usize) -> Option<(u64, Job)> {
        let tenant = self.turns.pop_front()?;
        self.in_turns.remove(&tenant);
        let jobs = self.jobs.get_mut(&tenant).expect("it has a turn");
        let job = jobs.pop_front().expect("it has a turn");
        if jobs.is_empty() {
            self.jobs.remove(&tenant);
        }
        *self.running.entry(tenant).or_default() += 1;
        self.give_turn(tenant, most_of_one);
        Some((tenant, job))
    }

    fn ended(&mut self, tenant: u64, most_of_one: usize) {
        let running = self.running.get_mut(&tenant).expect("it ran");
        *running -= 1;
        if *running == 0 {
            self.running.remove(&tenant);
        }
        self.give_turn(tenant, most_of_one);
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
        while let Some((tenant, job)) = self.next() {
            job();
            self.lock().ended(tenant, self.most_of_one);
            self.changed.notify_one();
        }
    }

    fn next(&self) -> Option<(u64, Job)> {
        let waiting = self.lock();
        let idle = |waiting: &mut Waiting| waiting.turns.is_empty() && !waiting.closed;
        let mut waiting = self.changed.wait_while(waiting, idle).expect("nothing panics while this lock is held");
        if waiting.closed {
            // Dropped outside of the lock: a job may hold a handle.
            let dropped = std::mem::take(&mut waiting.jobs);
            waiting.turns.clear();
            drop(waiting);
            drop(dropped);
            return None;
        }
        waiting.begin(self.most_of_one)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn who_is_in_a_hurry_comes_first() {
        let background = Background::start("test", 1, Scheduling::Ordinary);
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
        assert_eq!(dones.iter().take(4).collect::<Vec<_>>(), [2, 1, 3, 2], "the others still take turns");
    }

    #[test]
    fn each_queue_has_threads_of_its_scheduling() {
        let policy = |scheduling| {
            let (said, says) = channel();
            let background = Background::start("test", 1, scheduling);
            background
                .submit(0, move || said.send(thread_priority::thread_schedule_policy()).expect("the test listens"));
            says.recv().expect("it says").expect("the system says")
        };
        let batch = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Batch);
        assert_eq!(policy(Scheduling::Batch), batch);
        assert_ne!(policy(Scheduling::Ordinary), batch);
    }

    #[test]
    fn a_queues_threads_are_as_nice_as_who_started_them() {
        use rustix::process::{getpriority_process, setpriority_process};
        let nice_as = |nice| {
            let starter = std::thread::spawn(move || {
                setpriority_process(None, nice).expect("who is nicer needs no permission");
                let (said, says) = channel();
                let background = Background::start("test", 1, Scheduling::Batch);
                background.submit(0, move || said.send(getpriority_process(None)).expect("the test listens"));
                says.recv().expect("it says").expect("the system says")
            });
            starter.join().expect("it does not panic")
        };
        let own = getpriority_process(None).expect("the system says");
        for nice in [own, 7, 19] {
            assert_eq!(nice_as(nice.max(own)), nice.max(own));
        }
    }

    #[test]
    fn one_tenant_never_has_all_threads() {
        let background = Background::start("test", 2, Scheduling::Ordinary);
        let (ends, ended) = channel::<()>();
        let (done, dones) = channel();
        background.submit(1, move || _ = ended.recv());
        for tenant in [1, 2, 2] {
            let done = done.clone();
            background.submit(tenant, move || done.send(tenant).expect("the test listens"));
        }
        assert_eq!(dones.iter().take(2).collect::<Vec<_>>(), [2, 2]);
        drop(ends);
        assert_eq!(dones.recv(), Ok(1));
    }
}
