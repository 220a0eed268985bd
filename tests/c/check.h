// What the programs of these tests share.

#ifndef POSTBELL_TEST_CHECK_H
#define POSTBELL_TEST_CHECK_H

#include <postbell.h>
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

#endif
