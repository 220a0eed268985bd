#include <postbell.h>
#include <stdio.h>

static void head(void *user, uint16_t status, const struct postbell_header *headers, size_t count) {
    (void)user, (void)headers;
    printf("HTTP %u, %zu headers\n", status, count);
}

static bool part(void *user, const uint8_t *bytes, size_t length) {
    (void)user;
    return fwrite(bytes, 1, length, stdout) == length; // to the client, at once, as one chunk
}

static void end(void *user, enum postbell_status status, const char *why) {
    (void)user;
    printf("\nend: %d %s\n", status, why);
}

int main(void) {
    uint64_t host, plugin, tenant, answer;
    struct postbell_setting domains = {"domains", "example.org"};
    if (postbell_host_open(NULL, &host) != POSTBELL_STATUS_OK ||
        postbell_plugin_bundled(host, &plugin) != POSTBELL_STATUS_OK ||
        postbell_tenant_open(host, "example.org", plugin, &domains, 1, &tenant) != POSTBELL_STATUS_OK) {
        fprintf(stderr, "%s\n", postbell_error());
        return 1;
    }

    // What happens in mailboxes.
    struct postbell_change mail = {
        .account = "alice@example.org", .event = POSTBELL_EVENT_MESSAGE_DELIVERED, .item = "mail-1", .folder = "inbox"};
    if (postbell_ingest(tenant, NULL, 0, &mail, 1, NULL) != POSTBELL_STATUS_OK) {
        fprintf(stderr, "%s\n", postbell_error());
        return 1;
    }

    // What clients ask. Who they are is for the mail server to say.
    static const uint8_t body[] = "<Envelope/>";
    struct postbell_login alice = {.id = "id-alice", .name = "alice@example.org"};
    struct postbell_request request = {
        .method = "POST", .path = "/EWS/Exchange.asmx", .content_type = "text/xml; charset=utf-8",
        .body = body, .body_length = sizeof body - 1, .login = &alice};
    struct postbell_callbacks client = {.on_head = head, .on_part = part, .on_end = end};
    if (postbell_request(tenant, &request, &client, &answer) != POSTBELL_STATUS_OK) {
        fprintf(stderr, "%s\n", postbell_error());
        return 1;
    }
    return postbell_host_close(host); // when it returns, every answer has ended
}
