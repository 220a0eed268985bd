// A C program that embeds the library, as a plugin of a mail server would: everything once, then everything wrong.
//
//     embedding FIRST.wasm SECOND.wasm JOURNAL
//
// FIRST and SECOND are versions of the small guest of the tests of swaps; JOURNAL is a file that is not there yet.

#include <postbell.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s (last error: %s)\n", __FILE__, __LINE__, #condition, postbell_error());         \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

#define OK(call) CHECK((call) == POSTBELL_STATUS_OK)
#define REFUSED(call, why) CHECK((call) == POSTBELL_STATUS_##why && postbell_error()[0] != '\0')

// What a client hears, and a way to wait for it.
struct client {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t tenant;
    unsigned heads, parts, ends, status;
    enum postbell_status end, within;
    bool hangs_up;
    char text[4096];
};

static void client_init(struct client *client, uint64_t tenant) {
    memset(client, 0, sizeof *client);
    pthread_mutex_init(&client->lock, NULL);
    pthread_cond_init(&client->changed, NULL);
    client->tenant = tenant;
}

static void on_head(void *user, uint16_t status, const struct postbell_header *headers, size_t headers_count) {
    struct client *client = user;
    (void)headers;
    pthread_mutex_lock(&client->lock);
    client->heads += 1 + (headers_count > 100);
    client->status = status;
    pthread_cond_broadcast(&client->changed);
    pthread_mutex_unlock(&client->lock);
}

static bool on_part(void *user, const uint8_t *bytes, size_t length) {
    struct client *client = user;
    struct postbell_ingested ingested;
    // What could block is refused here, and does no harm.
    enum postbell_status within = postbell_ingest_json(client->tenant, "{}", 2, &ingested);
    pthread_mutex_lock(&client->lock);
    client->within = within;
    client->parts++;
    if (length < sizeof client->text) {
        memcpy(client->text, bytes, length);
        client->text[length] = '\0';
    }
    bool goes_on = !client->hangs_up;
    pthread_cond_broadcast(&client->changed);
    pthread_mutex_unlock(&client->lock);
    return goes_on;
}

static void on_end(void *user, enum postbell_status status, const char *why) {
    struct client *client = user;
    (void)why;
    pthread_mutex_lock(&client->lock);
    client->ends++;
    client->end = status;
    pthread_cond_broadcast(&client->changed);
    pthread_mutex_unlock(&client->lock);
}

static void wait_for_parts(struct client *client, unsigned parts) {
    pthread_mutex_lock(&client->lock);
    while (client->parts < parts) {
        pthread_cond_wait(&client->changed, &client->lock);
    }
    pthread_mutex_unlock(&client->lock);
}

static enum postbell_status wait_for_end(struct client *client) {
    pthread_mutex_lock(&client->lock);
    while (client->ends == 0) {
        pthread_cond_wait(&client->changed, &client->lock);
    }
    enum postbell_status end = client->end;
    CHECK(client->ends == 1);
    pthread_mutex_unlock(&client->lock);
    return end;
}

static const struct postbell_login ALICE = {.id = "id-alice", .name = "alice@example.org"};

static uint64_t ask(uint64_t tenant, const char *body, struct client *client) {
    struct postbell_request request = {
        .method = "POST", .path = "/guest", .body = (const uint8_t *)body, .body_length = strlen(body), .login = &ALICE};
    struct postbell_callbacks callbacks = {.on_head = on_head, .on_part = on_part, .on_end = on_end, .user = client};
    uint64_t answer = 0;
    client_init(client, tenant);
    OK(postbell_request(tenant, &request, &callbacks, &answer));
    CHECK(answer != 0);
    return answer;
}

static void deliver(uint64_t tenant, const char *source, uint64_t offset, struct postbell_ingested *ingested) {
    struct postbell_change mail = {
        .account = "alice@example.org", .event = POSTBELL_EVENT_MESSAGE_DELIVERED, .item = "mail-1", .folder = "inbox"};
    OK(postbell_ingest(tenant, source, offset, &mail, 1, ingested));
}

static uint8_t *read_file(const char *path, size_t *length) {
    FILE *file = fopen(path, "rb");
    CHECK(file != NULL);
    CHECK(fseek(file, 0, SEEK_END) == 0);
    long size = ftell(file);
    CHECK(size > 0);
    rewind(file);
    uint8_t *bytes = malloc((size_t)size);
    CHECK(bytes != NULL && fread(bytes, 1, (size_t)size, file) == (size_t)size);
    fclose(file);
    *length = (size_t)size;
    return bytes;
}

static uint64_t load(uint64_t host, const char *path) {
    size_t length;
    uint64_t plugin = 0;
    uint8_t *component = read_file(path, &length);
    OK(postbell_plugin_load(host, component, length, &plugin));
    free(component);
    return plugin;
}

// Every event, as records; each is applied.
static void changes(uint64_t tenant) {
    struct postbell_change every[10] = {0};
    for (int event = 0; event < 10; event++) {
        every[event] = (struct postbell_change){
            .account = "alice@example.org", .event = event, .at = 1, .item = "m1", .folder = "inbox", .new_item = "m2",
            .new_folder = "Projects/Sub", .flags = 1, .has_flags_before = true, .has_counts = true, .unread = 1, .total = 2};
    }
    struct postbell_ingested ingested;
    OK(postbell_ingest(tenant, "every", 0, every, 10, &ingested));
    CHECK(ingested.rejected == 0 && !ingested.repeated && ingested.sequence > 0);
    OK(postbell_ingest(tenant, "every", 0, every, 10, &ingested));
    CHECK(ingested.repeated);
    REFUSED(postbell_ingest(tenant, "every", 20, every, 10, &ingested), GAP);
    CHECK(ingested.expected == 10);
    REFUSED(postbell_ingest(tenant, "every", 5, every, 10, &ingested), OVERLAP);
    CHECK(ingested.expected == 10);
    uint64_t offset = 0;
    OK(postbell_source_offset(tenant, "every", &offset));
    CHECK(offset == 10);
    static const char json[] = "{\"source\":\"json\",\"offset\":0,\"changes\":[{\"account\":\"a@example.org\",\"what\":\"gap\"}]}";
    OK(postbell_ingest_json(tenant, json, sizeof json - 1, &ingested));
    CHECK(!ingested.repeated);
}

// A stream goes on through a swap; a client that waits, one that hangs up, and one that its callback hangs up on.
static void answers(uint64_t host, uint64_t tenant, const char *second) {
    struct client whole, stream, waiting, quick;
    ask(tenant, "now", &whole);
    CHECK(wait_for_end(&whole) == POSTBELL_STATUS_OK && whole.heads == 1 && whole.status == 200 && whole.parts == 1);

    uint64_t open = ask(tenant, "stream", &stream);
    wait_for_parts(&stream, 1);
    CHECK(stream.within == POSTBELL_STATUS_IN_CALLBACK);
    uint64_t other = load(host, second);
    OK(postbell_tenant_swap(tenant, other));
    OK(postbell_plugin_free(other));
    deliver(tenant, NULL, 0, NULL);
    wait_for_parts(&stream, 2);
    CHECK(stream.ends == 0);
    OK(postbell_hang_up(open));
    CHECK(wait_for_end(&stream) == POSTBELL_STATUS_HUNG_UP);
    REFUSED(postbell_hang_up(open), HANDLE);

    ask(tenant, "stream", &quick);
    wait_for_parts(&quick, 1);
    pthread_mutex_lock(&quick.lock);
    quick.hangs_up = true;
    pthread_mutex_unlock(&quick.lock);
    deliver(tenant, NULL, 0, NULL);
    CHECK(wait_for_end(&quick) == POSTBELL_STATUS_HUNG_UP && quick.parts == 2);

    ask(tenant, "wait", &waiting);
    deliver(tenant, NULL, 0, NULL);
    // It may have been asked after the delivery: then the next one answers it.
    while (waiting.parts == 0) {
        deliver(tenant, NULL, 0, NULL);
    }
    CHECK(wait_for_end(&waiting) == POSTBELL_STATUS_OK);
}

static void bad_handles(uint64_t host, uint64_t plugin, uint64_t tenant) {
    const uint64_t bad[] = {0, 424242, UINT64_MAX};
    struct postbell_request request = {.method = "POST", .path = "/guest"};
    struct postbell_callbacks callbacks = {0};
    uint64_t made;
    char *claims;
    for (size_t number = 0; number < sizeof bad / sizeof *bad; number++) {
        REFUSED(postbell_host_close(bad[number]), HANDLE);
        REFUSED(postbell_plugin_bundled(bad[number], &made), HANDLE);
        REFUSED(postbell_plugin_free(bad[number]), HANDLE);
        REFUSED(postbell_tenant_open(bad[number], "x", plugin, NULL, 0, &made), HANDLE);
        REFUSED(postbell_tenant_open(host, "x", bad[number], NULL, 0, &made), HANDLE);
        REFUSED(postbell_tenant_close(bad[number]), HANDLE);
        REFUSED(postbell_tenant_swap(bad[number], plugin), HANDLE);
        REFUSED(postbell_tenant_swap(tenant, bad[number]), HANDLE);
        REFUSED(postbell_ingest_json(bad[number], "{}", 2, NULL), HANDLE);
        REFUSED(postbell_ingest(bad[number], NULL, 0, NULL, 0, NULL), HANDLE);
        REFUSED(postbell_source_offset(bad[number], "x", &made), HANDLE);
        REFUSED(postbell_identify(bad[number], &request, &claims), HANDLE);
        REFUSED(postbell_request(bad[number], &request, &callbacks, &made), HANDLE);
        REFUSED(postbell_hang_up(bad[number]), HANDLE);
    }
    // Of another kind.
    REFUSED(postbell_host_close(tenant), HANDLE);
    REFUSED(postbell_tenant_close(plugin), HANDLE);
    REFUSED(postbell_plugin_free(host), HANDLE);
    REFUSED(postbell_tenant_open(host, "x", host, NULL, 0, &made), HANDLE);
    REFUSED(postbell_hang_up(tenant), HANDLE);
}

static void bad_pointers(uint64_t host, uint64_t plugin, uint64_t tenant) {
    struct postbell_request request = {.method = "POST", .path = "/guest"};
    struct postbell_callbacks callbacks = {0};
    struct postbell_change change = {.account = "a@example.org"};
    struct postbell_setting setting = {.key = "k"};
    uint64_t made;
    char *claims;
    REFUSED(postbell_host_open(NULL, NULL), NULL);
    REFUSED(postbell_plugin_bundled(host, NULL), NULL);
    REFUSED(postbell_plugin_load(host, NULL, 5, &made), NULL);
    REFUSED(postbell_plugin_load(host, (const uint8_t *)"x", 1, NULL), NULL);
    REFUSED(postbell_tenant_open(host, NULL, plugin, NULL, 0, &made), NULL);
    REFUSED(postbell_tenant_open(host, "x", plugin, NULL, 1, &made), NULL);
    REFUSED(postbell_tenant_open(host, "x", plugin, &setting, 1, &made), NULL);
    REFUSED(postbell_tenant_open(host, "x", plugin, NULL, 0, NULL), NULL);
    REFUSED(postbell_ingest_json(tenant, NULL, 5, NULL), NULL);
    REFUSED(postbell_ingest(tenant, NULL, 0, NULL, 1, NULL), NULL);
    REFUSED(postbell_ingest(tenant, NULL, 0, &change, 1, NULL), NULL);
    REFUSED(postbell_source_offset(tenant, NULL, &made), NULL);
    REFUSED(postbell_source_offset(tenant, "x", NULL), NULL);
    REFUSED(postbell_identify(tenant, NULL, &claims), NULL);
    REFUSED(postbell_identify(tenant, &request, NULL), NULL);
    REFUSED(postbell_request(tenant, NULL, &callbacks, &made), NULL);
    REFUSED(postbell_request(tenant, &request, NULL, &made), NULL);
    REFUSED(postbell_request(tenant, &request, &callbacks, NULL), NULL);
    request.body_length = 5;
    REFUSED(postbell_request(tenant, &request, &callbacks, &made), NULL);
    request.body_length = 0;
    request.headers_count = 1;
    REFUSED(postbell_request(tenant, &request, &callbacks, &made), NULL);
    request.headers_count = 0;
    request.path = NULL;
    REFUSED(postbell_request(tenant, &request, &callbacks, &made), NULL);
}

static void bad_values(uint64_t host, uint64_t plugin, uint64_t tenant) {
    struct postbell_request request = {.method = "POST", .path = "/guest", .denial = 42};
    struct postbell_login login = {.id = "a", .name = "a@example.org", .rank = 7};
    struct postbell_callbacks callbacks = {0};
    struct postbell_change change = {.account = "a@example.org", .event = 99};
    uint64_t made;
    REFUSED(postbell_plugin_load(host, (const uint8_t *)"no component", 12, &made), PLUGIN);
    REFUSED(postbell_plugin_load(host, NULL, 0, &made), PLUGIN);
    REFUSED(postbell_tenant_open(host, "\xff", plugin, NULL, 0, &made), VALUE);
    REFUSED(postbell_tenant_open(host, "example.org", plugin, NULL, 0, &made), DUPLICATE);
    REFUSED(postbell_ingest_json(tenant, "{", 1, NULL), JSON);
    REFUSED(postbell_ingest_json(tenant, "{\"offset\":1}", 12, NULL), JSON);
    REFUSED(postbell_ingest(tenant, NULL, 0, &change, 1, NULL), VALUE);
    REFUSED(postbell_ingest(tenant, NULL, 0, &change, SIZE_MAX, NULL), VALUE);
    REFUSED(postbell_request(tenant, &request, &callbacks, &made), VALUE);
    request.login = &login;
    REFUSED(postbell_request(tenant, &request, &callbacks, &made), VALUE);
    login.rank = POSTBELL_RANK_USER;
    request.resolutions = "[";
    REFUSED(postbell_request(tenant, &request, &callbacks, &made), JSON);
    request.resolutions = NULL;
    request.query = "\xff";
    REFUSED(postbell_request(tenant, &request, &callbacks, &made), VALUE);
    REFUSED(postbell_string_free((char *)&made), HANDLE);
    OK(postbell_string_free(NULL));
}

static void claims(uint64_t tenant) {
    struct postbell_request request = {.method = "POST", .path = "/guest"};
    char *claims = NULL;
    OK(postbell_identify(tenant, &request, &claims));
    CHECK(claims != NULL && strstr(claims, "\"credential\":null") != NULL);
    OK(postbell_string_free(claims));
    REFUSED(postbell_string_free(claims), HANDLE);
    // Without anybody who hears it, an answer is read all the same.
    struct postbell_callbacks nobody = {0};
    uint64_t answer;
    OK(postbell_request(tenant, &request, &nobody, &answer));
}

static void *keep_delivering(void *argument) {
    uint64_t tenant = *(const uint64_t *)argument;
    enum postbell_status status = POSTBELL_STATUS_OK;
    struct postbell_change mail = {
        .account = "alice@example.org", .event = POSTBELL_EVENT_MESSAGE_DELIVERED, .item = "mail-1", .folder = "inbox"};
    while (status == POSTBELL_STATUS_OK) {
        status = postbell_ingest(tenant, NULL, 0, &mail, 1, NULL);
    }
    // Closed under our feet: before the handle was looked up, or after.
    CHECK(status == POSTBELL_STATUS_HANDLE || status == POSTBELL_STATUS_CLOSED);
    return NULL;
}

// Two threads deliver while a third one closes the tenant, twice.
static void threads(uint64_t host, uint64_t plugin) {
    uint64_t tenant;
    pthread_t delivering[2];
    OK(postbell_tenant_open(host, "busy", plugin, NULL, 0, &tenant));
    for (int number = 0; number < 2; number++) {
        CHECK(pthread_create(&delivering[number], NULL, keep_delivering, &tenant) == 0);
    }
    struct client client;
    ask(tenant, "stream", &client);
    wait_for_parts(&client, 3);
    OK(postbell_tenant_close(tenant));
    REFUSED(postbell_tenant_close(tenant), HANDLE);
    for (int number = 0; number < 2; number++) {
        CHECK(pthread_join(delivering[number], NULL) == 0);
    }
    CHECK(wait_for_end(&client) == POSTBELL_STATUS_OK);
}

int main(int count, char **arguments) {
    CHECK(count == 4 && postbell_version()[0] != '\0' && postbell_error()[0] == '\0');
    struct postbell_host_options options = {.journal = arguments[3], .instances = 20, .shards = 1, .without_pool = true};
    uint64_t host, plugin, tenant, other;
    OK(postbell_host_open(&options, &host));
    plugin = load(host, arguments[1]);
    OK(postbell_tenant_open(host, "example.org", plugin, NULL, 0, &tenant));
    changes(tenant);
    claims(tenant);
    answers(host, tenant, arguments[2]);
    bad_handles(host, plugin, tenant);
    bad_pointers(host, plugin, tenant);
    bad_values(host, plugin, tenant);
    threads(host, plugin);

    // What is in the journal is there after a restart, and a stream that is open ends with the host.
    struct client last;
    ask(tenant, "stream", &last);
    wait_for_parts(&last, 1);
    OK(postbell_host_close(host));
    CHECK(last.ends == 1 && last.end == POSTBELL_STATUS_OK);
    REFUSED(postbell_host_close(host), HANDLE);
    REFUSED(postbell_tenant_close(tenant), HANDLE);
    REFUSED(postbell_tenant_open(host, "x", plugin, NULL, 0, &other), HANDLE);
    OK(postbell_plugin_free(plugin));
    OK(postbell_host_open(&options, &host));
    plugin = load(host, arguments[1]);
    OK(postbell_tenant_open(host, "example.org", plugin, NULL, 0, &tenant));
    uint64_t offset = 0;
    OK(postbell_source_offset(tenant, "every", &offset));
    CHECK(offset == 10);
    OK(postbell_host_close(host));
    OK(postbell_plugin_free(plugin));
    puts("all of it");
    return 0;
}
