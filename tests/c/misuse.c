// A C program that does with the library what its header forbids, or what goes wrong where threads meet: each time there is
// a status, and nothing else happens.
//
//     misuse PLUGIN.wasm
//
// PLUGIN is the small guest of the tests of swaps.

#include "check.h"
#include <pthread.h>
#include <stdatomic.h>

static const struct postbell_login ALICE = {.id = "id-alice", .name = "alice@example.org"};
static const struct postbell_host_options SMALL = {.instances = 20, .shards = 1, .without_pool = true};

static uint64_t open_host(void) {
    uint64_t host = 0;
    OK(postbell_host_open(&SMALL, &host));
    return host;
}

static uint64_t open_tenant(uint64_t host, uint64_t plugin, const char *name) {
    uint64_t tenant = 0;
    OK(postbell_tenant_open(host, name, plugin, NULL, 0, &tenant));
    return tenant;
}

// --- Handles of others, and handles that were good once ----------------------------------------------------------------

static void of_another_host(const char *path) {
    uint64_t one = open_host(), other = open_host(), none = 1;
    uint64_t plugin = load(one, path), its_own = load(other, path);
    REFUSED(postbell_tenant_open(other, "x", plugin, NULL, 0, &none), HANDLE);
    CHECK(none == 0);
    uint64_t tenant = open_tenant(other, its_own, "x");
    REFUSED(postbell_tenant_swap(tenant, plugin), HANDLE);
    OK(postbell_tenant_swap(tenant, its_own));
    OK(postbell_host_close(one));
    // The plugin of a host that is closed can be freed, and no more.
    REFUSED(postbell_tenant_open(other, "y", plugin, NULL, 0, &none), HANDLE);
    OK(postbell_plugin_free(plugin));
    OK(postbell_host_close(other));
    OK(postbell_plugin_free(its_own));
}

static void refused_by_all(uint64_t tenant, const struct postbell_request *request, enum postbell_status why) {
    struct postbell_change change = {.account = "a@example.org", .item = "m", .folder = "inbox"};
    struct postbell_callbacks callbacks = {0};
    struct postbell_ingested ingested;
    uint64_t made = 1;
    char *claims = NULL;
    CHECK(postbell_ingest(tenant, NULL, 0, &change, 1, &ingested) == why);
    CHECK(postbell_ingest_json(tenant, "{}", 2, &ingested) == why);
    CHECK(postbell_source_offset(tenant, "s", &made) == why);
    CHECK(postbell_identify(tenant, request, &claims) == why && claims == NULL);
    CHECK(postbell_request(tenant, request, &callbacks, &made) == why);
    CHECK(postbell_tenant_close(tenant) == why);
    CHECK(postbell_error()[0] != '\0');
}

static void that_were_closed(const char *path) {
    struct postbell_request request = {.method = "POST", .path = "/guest", .login = &ALICE};
    uint64_t host = open_host(), plugin = load(host, path), made = 1;
    uint64_t tenant = open_tenant(host, plugin, "x"), second = open_tenant(host, plugin, "y");
    OK(postbell_tenant_close(tenant));
    refused_by_all(tenant, &request, POSTBELL_STATUS_HANDLE);
    REFUSED(postbell_tenant_swap(tenant, plugin), HANDLE);
    OK(postbell_plugin_free(plugin));
    REFUSED(postbell_plugin_free(plugin), HANDLE);
    REFUSED(postbell_tenant_swap(second, plugin), HANDLE);
    REFUSED(postbell_tenant_open(host, "z", plugin, NULL, 0, &made), HANDLE);
    CHECK(made == 0);
    OK(postbell_host_close(host));
    refused_by_all(second, &request, POSTBELL_STATUS_HANDLE);
    REFUSED(postbell_plugin_bundled(host, &made), HANDLE);
}

// --- Calls from within callbacks -----------------------------------------------------------------------------------------

// What callbacks find, and a way to wait until the last of them has.
struct within {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t host, plugin, tenant, answer;
    bool answer_known, ended;
    unsigned heads, parts;
};

// Whatever could block is refused, on every callback alike; the rest works.
static void everything(struct within *at) {
    struct postbell_request request = {.method = "POST", .path = "/guest", .login = &ALICE};
    uint64_t made = 1;
    REFUSED(postbell_host_open(&SMALL, &made), IN_CALLBACK);
    REFUSED(postbell_host_close(at->host), IN_CALLBACK);
    REFUSED(postbell_plugin_bundled(at->host, &made), IN_CALLBACK);
    REFUSED(postbell_plugin_load(at->host, (const uint8_t *)"x", 1, &made), IN_CALLBACK);
    REFUSED(postbell_plugin_free(at->plugin), IN_CALLBACK);
    REFUSED(postbell_tenant_open(at->host, "y", at->plugin, NULL, 0, &made), IN_CALLBACK);
    REFUSED(postbell_tenant_swap(at->tenant, at->plugin), IN_CALLBACK);
    refused_by_all(at->tenant, &request, POSTBELL_STATUS_IN_CALLBACK);
    CHECK(postbell_version()[0] != '\0');
    OK(postbell_string_free(NULL));
    REFUSED(postbell_hang_up(at->tenant), HANDLE);
}

static void on_head(void *user, uint16_t status, const struct postbell_header *headers, size_t count) {
    struct within *at = user;
    (void)headers, (void)count;
    CHECK(status == 200);
    everything(at);
    at->heads++;
}

static bool on_part(void *user, const uint8_t *bytes, size_t length) {
    struct within *at = user;
    (void)bytes, (void)length;
    everything(at);
    at->parts++;
    pthread_mutex_lock(&at->lock);
    while (!at->answer_known) {
        pthread_cond_wait(&at->changed, &at->lock);
    }
    pthread_mutex_unlock(&at->lock);
    OK(postbell_hang_up(at->answer)); // on itself: this is allowed, also twice
    OK(postbell_hang_up(at->answer));
    return true;
}

static void on_end(void *user, enum postbell_status status, const char *why) {
    struct within *at = user;
    CHECK(status == POSTBELL_STATUS_HUNG_UP && why[0] != '\0');
    everything(at);
    REFUSED(postbell_hang_up(at->answer), HANDLE); // it has ended
    pthread_mutex_lock(&at->lock);
    at->ended = true;
    pthread_cond_broadcast(&at->changed);
    pthread_mutex_unlock(&at->lock);
}

static void within_callbacks(const char *path) {
    struct within at = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    at.host = open_host();
    at.plugin = load(at.host, path);
    at.tenant = open_tenant(at.host, at.plugin, "x");
    struct postbell_request request = {
        .method = "POST", .path = "/guest", .body = (const uint8_t *)"stream", .body_length = 6, .login = &ALICE};
    struct postbell_callbacks callbacks = {.on_head = on_head, .on_part = on_part, .on_end = on_end, .user = &at};
    uint64_t answer;
    OK(postbell_request(at.tenant, &request, &callbacks, &answer));
    pthread_mutex_lock(&at.lock);
    at.answer = answer;
    at.answer_known = true;
    pthread_cond_broadcast(&at.changed);
    while (!at.ended) {
        pthread_cond_wait(&at.changed, &at.lock);
    }
    pthread_mutex_unlock(&at.lock);
    CHECK(at.heads == 1 && at.parts == 1);
    // The mark is the library's thread's: here everything is allowed as before.
    OK(postbell_tenant_swap(at.tenant, at.plugin));
    OK(postbell_plugin_free(at.plugin));
    OK(postbell_host_close(at.host));
}

// --- Several threads at once -----------------------------------------------------------------------------------------

enum { THREADS = 4 };

struct race {
    pthread_barrier_t begin;
    enum postbell_status (*call)(void *);
    void *argument;
};

static void *racing(void *argument) {
    struct race *race = argument;
    pthread_barrier_wait(&race->begin);
    return (void *)(intptr_t)race->call(race->argument);
}

// Calls from several threads with one argument: how many were done. All others end with `otherwise`.
static unsigned race(enum postbell_status (*call)(void *), void *argument, enum postbell_status otherwise) {
    struct race race = {.call = call, .argument = argument};
    pthread_t threads[THREADS];
    unsigned done = 0;
    CHECK(pthread_barrier_init(&race.begin, NULL, THREADS) == 0);
    for (int number = 0; number < THREADS; number++) {
        CHECK(pthread_create(&threads[number], NULL, racing, &race) == 0);
    }
    for (int number = 0; number < THREADS; number++) {
        void *status;
        CHECK(pthread_join(threads[number], &status) == 0);
        CHECK((intptr_t)status == POSTBELL_STATUS_OK || (intptr_t)status == (intptr_t)otherwise);
        done += (intptr_t)status == POSTBELL_STATUS_OK;
    }
    pthread_barrier_destroy(&race.begin);
    return done;
}

struct target {
    uint64_t host, plugin, tenant, answer;
    char *text;
    atomic_uint asked, ended;
};

static void count_end(void *of, enum postbell_status status, const char *why) {
    (void)status, (void)why;
    atomic_fetch_add(&((struct target *)of)->ended, 1);
}

static enum postbell_status free_text(void *of) { return postbell_string_free(((struct target *)of)->text); }
static enum postbell_status free_plugin(void *of) { return postbell_plugin_free(((struct target *)of)->plugin); }
static enum postbell_status close_tenant(void *of) { return postbell_tenant_close(((struct target *)of)->tenant); }
static enum postbell_status close_host(void *of) { return postbell_host_close(((struct target *)of)->host); }
static enum postbell_status hang_up(void *of) { return postbell_hang_up(((struct target *)of)->answer); }

static enum postbell_status swap(void *of) {
    struct target *at = of;
    return postbell_tenant_swap(at->tenant, at->plugin);
}

static enum postbell_status open_one_name(void *of) {
    struct target *at = of;
    uint64_t tenant;
    enum postbell_status status = postbell_tenant_open(at->host, "one", at->plugin, NULL, 0, &tenant);
    CHECK((tenant != 0) == (status == POSTBELL_STATUS_OK));
    return status;
}

// Opens tenants and asks them, until the host is closed by somebody: by itself at last.
static enum postbell_status open_until_closed(void *of) {
    struct target *at = of;
    struct postbell_request request = {
        .method = "POST", .path = "/guest", .body = (const uint8_t *)"now", .body_length = 3, .login = &ALICE};
    struct postbell_callbacks callbacks = {.on_end = count_end, .user = at};
    char name[32];
    uint64_t tenant, answer;
    for (int number = 0; number < 3; number++) {
        snprintf(name, sizeof name, "%lx-%d", (unsigned long)pthread_self(), number);
        enum postbell_status status = postbell_tenant_open(at->host, name, at->plugin, NULL, 0, &tenant);
        CHECK(status == POSTBELL_STATUS_OK || status == POSTBELL_STATUS_HANDLE || status == POSTBELL_STATUS_CLOSED);
        if (status == POSTBELL_STATUS_OK) {
            status = postbell_request(tenant, &request, &callbacks, &answer);
            CHECK(status == POSTBELL_STATUS_OK || status == POSTBELL_STATUS_HANDLE || status == POSTBELL_STATUS_CLOSED);
            atomic_fetch_add(&at->asked, status == POSTBELL_STATUS_OK);
        }
    }
    return postbell_host_close(at->host);
}

static void from_several_threads(const char *path) {
    struct postbell_request request = {
        .method = "POST", .path = "/guest", .body = (const uint8_t *)"stream", .body_length = 6, .login = &ALICE};
    struct postbell_callbacks nobody = {0};
    struct target at = {.host = open_host()};
    at.plugin = load(at.host, path);
    at.tenant = open_tenant(at.host, at.plugin, "x");
    OK(postbell_identify(at.tenant, &request, &at.text));
    CHECK(race(free_text, &at, POSTBELL_STATUS_HANDLE) == 1);
    OK(postbell_request(at.tenant, &request, &nobody, &at.answer));
    CHECK(race(hang_up, &at, POSTBELL_STATUS_HANDLE) >= 1);
    CHECK(race(swap, &at, POSTBELL_STATUS_SWAP) >= 1);
    CHECK(race(open_one_name, &at, POSTBELL_STATUS_DUPLICATE) == 1);
    CHECK(race(close_tenant, &at, POSTBELL_STATUS_HANDLE) == 1);
    at.tenant = open_tenant(at.host, at.plugin, "y");
    CHECK(race(open_until_closed, &at, POSTBELL_STATUS_HANDLE) == 1);
    CHECK(at.asked == at.ended); // the one that closed the host waited for them all
    CHECK(race(free_plugin, &at, POSTBELL_STATUS_HANDLE) == 1);
    at.host = open_host();
    CHECK(race(close_host, &at, POSTBELL_STATUS_HANDLE) == 1);
}

int main(int count, char **arguments) {
    CHECK(count == 2);
    of_another_host(arguments[1]);
    that_were_closed(arguments[1]);
    within_callbacks(arguments[1]);
    from_several_threads(arguments[1]);
    puts("all of it");
    return 0;
}
