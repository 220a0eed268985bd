//! The border to C: statuses, texts of errors, and pointers that are looked at before they are used.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What became of a call.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It was done.
    Ok = 0,
    /// A pointer is null that must not be.
    Null = 1,
    /// A handle is none, was closed, or is of another kind.
    Handle = 2,
    /// A text is not UTF-8, or a value is none that is allowed.
    Value = 3,
    /// It was called from within a callback, and could block there.
    InCallback = 4,
    /// JSON is malformed; nothing of it was applied.
    Json = 5,
    /// This machine cannot run the engine.
    Engine = 6,
    /// A plugin was refused, or failed where it must not.
    Plugin = 7,
    /// The plugin refuses its settings.
    Settings = 8,
    /// A tenant of this name is open already.
    Duplicate = 9,
    /// The journal failed, or does not give the tenant's state.
    Journal = 10,
    /// The source skipped something: go on from `expected`.
    Gap = 11,
    /// The first of these changes are applied already: go on from `expected`.
    Overlap = 12,
    /// More than one input may have.
    TooLarge = 13,
    /// Too much waits; try again soon.
    Busy = 14,
    /// The plugin failed on this input; nothing of it was applied.
    Fault = 15,
    /// The tenant is closed.
    Closed = 16,
    /// The client was hung up on.
    HungUp = 17,
    /// The other plugin did not take over; the tenant goes on as it was.
    Swap = 18,
    /// There is a mistake in this library. The call had no effect that it tells of.
    Bug = 19,
}

/// Why a call failed.
#[derive(Debug)]
pub struct Failure {
    pub status: Status,
    pub text: String,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(status: Status, text: impl ToString) -> Failure {
        Failure { status, text: text.to_string() }
    }
}

thread_local! {
    static LAST: RefCell<CString> = RefCell::default();
    static IN_CALLBACK: Cell<bool> = const { Cell::new(false) };
}

/// The text for the last call that failed on this thread; empty if there was none. It is good until the next call that
/// fails on this thread.
#[unsafe(no_mangle)]
pub extern "C" fn postbell_error() -> *const c_char {
    LAST.with(|last| last.borrow().as_ptr())
}

/// The version of the library.
#[unsafe(no_mangle)]
pub extern "C" fn postbell_version() -> *const c_char {
    const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => panic!("a version has no NUL"),
    };
    VERSION.as_ptr()
}

/// Runs a call; what goes wrong is kept for `postbell_error`.
pub fn call(run: impl FnOnce() -> Result<(), Failure>) -> Status {
    let result = catch_unwind(AssertUnwindSafe(run));
    let result = result.unwrap_or_else(|_| Err(Failure::new(Status::Bug, "the library panicked")));
    let Err(Failure { status, text }) = result else { return Status::Ok };
    remember(&text);
    status
}

/// As [`call`], for calls that may block.
pub fn blocking_call(run: impl FnOnce() -> Result<(), Failure>) -> Status {
    call(|| {
        if IN_CALLBACK.get() {
            return Err(Failure::new(Status::InCallback, "this may block, and a callback must not"));
        }
        run()
    })
}

/// Runs what calls the caller back.
pub fn calling_back<T>(run: impl FnOnce() -> T) -> T {
    IN_CALLBACK.set(true);
    let result = run();
    IN_CALLBACK.set(false);
    result
}

fn remember(text: &str) {
    let text = CString::new(text.replace('\0', " ")).unwrap_or_default();
    LAST.with(|last| *last.borrow_mut() = text);
}

/// A place that a result is written to.
pub fn place<'p, T>(pointer: *mut T, name: &str) -> Result<&'p mut T, Failure> {
    // SAFETY: the caller gives a valid place or null.
    unsafe { pointer.as_mut() }.ok_or_else(|| null(name))
}

/// A record that is read.
pub fn record<'p, T>(pointer: *const T, name: &str) -> Result<&'p T, Failure> {
    // SAFETY: the caller gives a valid record or null.
    unsafe { pointer.as_ref() }.ok_or_else(|| null(name))
}

/// So many records; none at all may have a null pointer.
pub fn list<'p, T>(pointer: *const T, count: usize, name: &str) -> Result<&'p [T], Failure> {
    if count == 0 {
        return Ok(&[]);
    }
    if pointer.is_null() {
        return Err(null(name));
    }
    if count > isize::MAX as usize / size_of::<T>().max(1) {
        return Err(Failure::new(Status::Value, format!("{name} cannot be so long")));
    }
    // SAFETY: it is not null, not longer than memory is, and the caller gives so many valid records.
    Ok(unsafe { std::slice::from_raw_parts(pointer, count) })
}

/// A text.
pub fn text<'p>(pointer: *const c_char, name: &str) -> Result<&'p str, Failure> {
    optional_text(pointer, name)?.ok_or_else(|| null(name))
}

/// A text that may be null.
pub fn optional_text<'p>(pointer: *const c_char, name: &str) -> Result<Option<&'p str>, Failure> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: it is not null, and the caller gives a text that ends with NUL.
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_str().map(Some).map_err(|_| Failure::new(Status::Value, format!("{name} is not UTF-8")))
}

fn null(name: &str) -> Failure {
    Failure::new(Status::Null, format!("{name} is null"))
}
