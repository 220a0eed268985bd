// Postbell for C: mail-notification logic as a sandboxed WebAssembly component, inside your own server.
//
// Handles are numbers, never reused; 0 is none. A handle that is none, was closed, or is of another kind is refused
// (POSTBELL_STATUS_HANDLE), and nothing is touched. Every function that can fail returns a status; postbell_error() has the
// text for the last one that failed on the calling thread. Texts are UTF-8 and end with NUL.
//
// Threads. Every function may be called from any thread, at the same time, also with the same handle. Callbacks of a
// request come from a thread of the library's, never two at once for one host: one that blocks holds up all others. From
// within a callback only postbell_hang_up(), postbell_error() and postbell_version() may be called; what could block is
// refused there (POSTBELL_STATUS_IN_CALLBACK). What callbacks are given is theirs until they return.
//
// After fork() the library may be used in the process that opened the host alone.


#ifndef POSTBELL_H
#define POSTBELL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// What became of a call.
enum postbell_status {
    // It was done.
    POSTBELL_STATUS_OK = 0,
    // A pointer is null that must not be.
    POSTBELL_STATUS_NULL = 1,
    // A handle is none, was closed, or is of another kind.
    POSTBELL_STATUS_HANDLE = 2,
    // A text is not UTF-8, or a value is none that is allowed.
    POSTBELL_STATUS_VALUE = 3,
    // It was called from within a callback, and could block there.
    POSTBELL_STATUS_IN_CALLBACK = 4,
    // JSON is malformed; nothing of it was applied.
    POSTBELL_STATUS_JSON = 5,
    // This machine cannot run the engine.
    POSTBELL_STATUS_ENGINE = 6,
    // A plugin was refused, or failed where it must not.
    POSTBELL_STATUS_PLUGIN = 7,
    // The plugin refuses its settings.
    POSTBELL_STATUS_SETTINGS = 8,
    // A tenant of this name is open already.
    POSTBELL_STATUS_DUPLICATE = 9,
    // The journal failed, or does not give the tenant's state.
    POSTBELL_STATUS_JOURNAL = 10,
    // The source skipped something: go on from `expected`.
    POSTBELL_STATUS_GAP = 11,
    // The first of these changes are applied already: go on from `expected`.
    POSTBELL_STATUS_OVERLAP = 12,
    // More than one input may have.
    POSTBELL_STATUS_TOO_LARGE = 13,
    // Too much waits; try again soon.
    POSTBELL_STATUS_BUSY = 14,
    // The plugin failed on this input; nothing of it was applied.
    POSTBELL_STATUS_FAULT = 15,
    // The tenant is closed.
    POSTBELL_STATUS_CLOSED = 16,
    // The client was hung up on.
    POSTBELL_STATUS_HUNG_UP = 17,
    // The other plugin did not take over; the tenant goes on as it was.
    POSTBELL_STATUS_SWAP = 18,
    // There is a mistake in this library. The call had no effect that it tells of.
    POSTBELL_STATUS_BUG = 19,
};

// What happened. The words are those of RFC 5423 where it has them.
enum postbell_event {
    // Mail was delivered: `item` in `folder`.
    POSTBELL_EVENT_MESSAGE_DELIVERED = 0,
    // Any other item came to be.
    POSTBELL_EVENT_ITEM_CREATED = 1,
    // An item has other flags, or was altered otherwise.
    POSTBELL_EVENT_ITEM_MODIFIED = 2,
    // An item is gone.
    POSTBELL_EVENT_ITEM_DELETED = 3,
    // An item is now `new_item` in `new_folder`.
    POSTBELL_EVENT_ITEM_MOVED = 4,
    // An item was copied to `new_item` in `new_folder`.
    POSTBELL_EVENT_ITEM_COPIED = 5,
    // `folder` came to be, its parts separated by `/`.
    POSTBELL_EVENT_FOLDER_CREATED = 6,
    // `folder` is gone.
    POSTBELL_EVENT_FOLDER_DELETED = 7,
    // `folder` is now `new_folder`.
    POSTBELL_EVENT_FOLDER_MOVED = 8,
    // Changes of this account were lost.
    POSTBELL_EVENT_GAP = 9,
};

// What a user may do.
enum postbell_rank {
    // Its own account, and those that it was given rights to.
    POSTBELL_RANK_USER = 0,
    // Some accounts of the tenant.
    POSTBELL_RANK_DELEGATED_ADMINISTRATOR = 1,
    // Every account of the tenant.
    POSTBELL_RANK_ADMINISTRATOR = 2,
};

// What became of changes.
struct postbell_ingested {
    // The tenant's position after them.
    uint64_t sequence;
    // How many were not applied; the others were.
    uint64_t rejected;
    // The source had sent all of this before; nothing was applied now.
    bool repeated;
    // After a gap or an overlap: from which offset to go on.
    uint64_t expected;
};

// A change of one account. Zero and null where there is nothing to say.
struct postbell_change {
    // Name, alias or id of the account.
    const char *account;
    // What happened: one of `postbell_event`.
    int32_t event;
    // When, in milliseconds since the Unix epoch; 0: now.
    uint64_t at;
    // The id of the item.
    const char *item;
    // Its kind; null: a message.
    const char *item_kind;
    // The id of the folder: `inbox`, or its path.
    const char *folder;
    // After a move or copy: the item's id.
    const char *new_item;
    // After a move or copy: the folder's id.
    const char *new_folder;
    // The item's flags after it: seen 1, answered 2, flagged 4, draft 8, deleted 16.
    uint64_t flags;
    // Its flags before it, if `has_flags_before`.
    uint64_t flags_before;
    // Whether `flags_before` says anything.
    bool has_flags_before;
    // Whether `unread` and `total` say anything.
    bool has_counts;
    // Unread items in the folder where the item now is, after it.
    uint32_t unread;
    // Items there, after it.
    uint32_t total;
};

// A header.
struct postbell_header {
    // Its name; in small letters where it is given to a plugin.
    const char *name;
    // Its value.
    const char *value;
};

// A login that holds: the caller of this library has verified it.
struct postbell_login {
    // The account's id.
    const char *id;
    // Its main address.
    const char *name;
    // One of `postbell_rank`.
    int32_t rank;
    // Names the login without being a secret; null: the account's id.
    const char *visit;
    // What the plugin writes where the client expects a token, to be replaced while sending; null: none.
    const char *token_placeholder;
    // How long the token lives, in milliseconds; 0: there is none.
    uint64_t token_lifetime_ms;
};

// A request. Null and zero where there is nothing to say.
struct postbell_request {
    // In capitals.
    const char *method;
    // Without the query.
    const char *path;
    // What follows the `?`; null: nothing.
    const char *query;
    // The header Content-Type; null: none.
    const char *content_type;
    // Those that the plugin's route asks for.
    const struct postbell_header *headers;
    // How many.
    uintptr_t headers_count;
    // The body as it came: secrets in it are overwritten before the plugin's state sees them.
    const uint8_t *body;
    // Its length.
    uintptr_t body_length;
    // Whether the client came over TLS.
    bool secure;
    // Who asks; null: nobody that is known.
    const struct postbell_login *login;
    // Without a login: why. 0 missing, 1 malformed, 2 unknown login, 3 wrong secret, 4 unknown token, 5 expired, 6 inactive,
    // 7 not permitted, 8 throttled, 9 unavailable.
    int32_t denial;
    // How the caller stands to the accounts that the request names, as JSON; null: it may see none of them.
    // `{"act-as": R, "accounts": [R, ...]}`, in the order in which postbell_identify() names them, each R
    // `{"id": "...", "name": "...", "standing": "itself"}`; standing: itself, permitted, forbidden, unknown, unavailable,
    // elsewhere.
    const char *resolutions;
};

// Who hears an answer. Each may be null. Calls come one after another; after `on_end`, which comes exactly once, none.
struct postbell_callbacks {
    // The answer begins: HTTP's status and headers.
    void (*on_head)(void *user, uint16_t status, const struct postbell_header *headers, uintptr_t headers_count);
    // A part of the body: send it at once, as one chunk. To ask for the next one is to say that this one is on its way, so
    // block, or return false to hang up, where the client takes nothing.
    bool (*on_part)(void *user, const uint8_t *bytes, uintptr_t length);
    // Nothing more will come: POSTBELL_STATUS_OK after the last part; else what happened, and why.
    void (*on_end)(void *user, enum postbell_status status, const char *why);
    // What each is given.
    void *user;
};

// What a host is made of. All zero: a journal in memory, no cache, as many threads as processors, and a pool of 1,000
// instances.
struct postbell_host_options {
    // The file in which inputs are kept; null: in memory, nothing outlives the host.
    const char *journal;
    // The folder for compiled plugins; null: each load compiles.
    const char *cache;
    // How many instances there can be at once; 0: 1,000.
    uint32_t instances;
    // How many threads the tenants are spread over; 0: one for each processor.
    uint32_t shards;
    // Reserve no memory for instances at start: slower, and what tools that watch memory want.
    bool without_pool;
};

// A setting of a plugin.
struct postbell_setting {
    // Its name.
    const char *key;
    // Its value.
    const char *value;
};

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// The client has hung up: the plugin hears of it, and `on_end` comes with POSTBELL_STATUS_HUNG_UP, if it is not on its way
// already. May be called from within a callback.
enum postbell_status postbell_hang_up(uint64_t answer);

// The text for the last call that failed on this thread; empty if there was none. It is good until the next call that
// fails on this thread.
const char *postbell_error(void);

// The version of the library.
const char *postbell_version(void);

// Applies changes, given as the JSON of `POST /v1/tenants/{tenant}/changes`, source and offset included. Returns once that
// is committed. `ingested` may be null.
//
// # Safety
//
// Pointers are valid or null.
enum postbell_status postbell_ingest_json(uint64_t tenant,
                                          const char *body,
                                          uintptr_t body_length,
                                          struct postbell_ingested *ingested);

// Applies changes, and returns once that is committed. With a `source` each is applied once, however often it is sent:
// `offset` is how many changes this source sent before. `source` and `ingested` may be null.
//
// # Safety
//
// Pointers are valid or null.
enum postbell_status postbell_ingest(uint64_t tenant,
                                     const char *source,
                                     uint64_t offset,
                                     const struct postbell_change *changes,
                                     uintptr_t changes_count,
                                     struct postbell_ingested *ingested);

// How many changes of this source are applied and committed.
//
// # Safety
//
// Pointers are valid or null.
enum postbell_status postbell_source_offset(uint64_t tenant, const char *source, uint64_t *offset);

// What a request says of itself, as JSON, which is to be freed by postbell_string_free():
// `{"credential": ..., "wants-token": ..., "ends-login": ..., "act-as": ..., "accounts": [...], "secrets": [...]}`.
// A credential is null, `{"password": {"login", "secret", "administrator"}}`, `{"token": "..."}` or `{"preauth": {"account",
// "timestamp", "expires", "digest", "administrator"}}`; an account `{"name": "..."}`, `{"id": "..."}`, `{"address": "..."}`,
// `{"principal-name": "..."}` or `{"sid": "..."}`; a secret `{"start", "length"}`.
//
// # Safety
//
// Pointers are valid or null.
enum postbell_status postbell_identify(uint64_t tenant,
                                       const struct postbell_request *request,
                                       char **claims);

// Hands a request to the plugin: whatever is called next comes after it. The answer comes by `callbacks`; `answer` is
// written before the first of them is called.
//
// # Safety
//
// Pointers are valid or null; the callbacks may be called until `on_end` returns.
enum postbell_status postbell_request(uint64_t tenant,
                                      const struct postbell_request *request,
                                      const struct postbell_callbacks *callbacks,
                                      uint64_t *answer);

// Frees a text that this library gave. Null is ignored.
enum postbell_status postbell_string_free(char *string);

// Opens a host. `options` may be null.
//
// # Safety
//
// Pointers are valid or null.
enum postbell_status postbell_host_open(const struct postbell_host_options *options, uint64_t *opened);

// Closes a host, with the tenants that are open in it: their clients get their farewells first. When it returns, every
// `on_end` has come, and the journal can be opened again.
enum postbell_status postbell_host_close(uint64_t host);

// Loads the plugin that is built in.
//
// # Safety
//
// Pointers are valid or null.
enum postbell_status postbell_plugin_bundled(uint64_t host, uint64_t *loaded);

// Compiles a component, or takes its code from the cache, and checks that it is a plugin.
//
// # Safety
//
// Pointers are valid or null.
enum postbell_status postbell_plugin_load(uint64_t host,
                                          const uint8_t *component,
                                          uintptr_t component_length,
                                          uint64_t *loaded);

// Frees a plugin. Tenants that run it go on.
enum postbell_status postbell_plugin_free(uint64_t plugin);

// Opens a tenant: a new one if the journal does not know its name, else one that goes on where it was. The plugin must be
// of the same host.
//
// # Safety
//
// Pointers are valid or null.
enum postbell_status postbell_tenant_open(uint64_t host,
                                          const char *name,
                                          uint64_t plugin,
                                          const struct postbell_setting *settings,
                                          uintptr_t settings_count,
                                          uint64_t *opened);

// Closes a tenant: its clients get their farewells, and all of that is committed.
enum postbell_status postbell_tenant_close(uint64_t tenant);

// Has another plugin take over, while clients stay connected. Returns once it has, or once it is clear that it will not.
enum postbell_status postbell_tenant_swap(uint64_t tenant,
                                          uint64_t plugin);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* POSTBELL_H */
