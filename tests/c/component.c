// Plays a script to the component in a file, by wasmtime's C API, and prints what comes of each call.
//
//     component PLUGIN.wasm < CALLS.jsonl
//
// Script and output are lines of JSON with the names of the Rust types: {"function": "...", "arguments": [...]} in, a value
// out. The component says itself of what type each argument and result is.

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wasmtime.h>

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                            \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

typedef wasmtime_component_valtype_t type_t;
typedef wasmtime_component_val_t val_t;

static void ok(wasmtime_error_t *error) {
    if (error != NULL) {
        wasm_name_t message;
        wasmtime_error_message(error, &message);
        fprintf(stderr, "%.*s\n", (int)message.size, message.data);
        exit(1);
    }
}

// --- Names -----------------------------------------------------------------------------------------------------------

// A name of the contract as Rust writes it: a field with `_`, a case in capitals.
static char *written(const char *name, size_t length, bool is_case) {
    static char text[128];
    size_t end = 0;
    bool begins = true;
    CHECK(length < sizeof text);
    for (size_t at = 0; at < length; at++) {
        if (name[at] != '-') {
            text[end++] = is_case && begins && name[at] >= 'a' ? (char)(name[at] - 'a' + 'A') : name[at];
        } else if (!is_case) {
            text[end++] = '_';
        }
        begins = name[at] == '-';
    }
    text[end] = '\0';
    return text;
}

static wasm_name_t copied(const char *text, size_t length) {
    wasm_name_t name;
    wasm_byte_vec_new(&name, length, text);
    return name;
}

// --- From JSON -------------------------------------------------------------------------------------------------------

static val_t lower(const type_t *type, const json_t *value);

// Lowers into a value that another one points to, and forgets the type.
static val_t *lower_inner(type_t *type, const json_t *value) {
    val_t inner = lower(type, value);
    wasmtime_component_valtype_delete(type);
    return wasmtime_component_val_new(&inner);
}

static uint64_t number(const json_t *value) {
    CHECK(json_is_integer(value) && json_integer_value(value) >= 0);
    return (uint64_t)json_integer_value(value);
}

static void lower_record(const wasmtime_component_record_type_t *type, const json_t *value, val_t *out) {
    size_t count = wasmtime_component_record_type_field_count(type), length;
    const char *name;
    type_t field;
    wasmtime_component_valrecord_new_uninit(&out->of.record, count);
    for (size_t at = 0; at < count; at++) {
        CHECK(wasmtime_component_record_type_field_nth(type, at, &name, &length, &field));
        const json_t *member = json_object_get(value, written(name, length, false));
        CHECK(member != NULL);
        out->of.record.data[at].name = copied(name, length);
        out->of.record.data[at].val = lower(&field, member);
        wasmtime_component_valtype_delete(&field);
    }
}

static void lower_tuple(const wasmtime_component_tuple_type_t *type, const json_t *value, val_t *out) {
    size_t count = wasmtime_component_tuple_type_types_count(type);
    type_t element;
    CHECK(json_array_size(value) == count);
    wasmtime_component_valtuple_new_uninit(&out->of.tuple, count);
    for (size_t at = 0; at < count; at++) {
        CHECK(wasmtime_component_tuple_type_types_nth(type, at, &element));
        out->of.tuple.data[at] = lower(&element, json_array_get(value, at));
        wasmtime_component_valtype_delete(&element);
    }
}

static void lower_list(const wasmtime_component_list_type_t *type, const json_t *value, val_t *out) {
    type_t element;
    CHECK(json_is_array(value));
    wasmtime_component_list_type_element(type, &element);
    wasmtime_component_vallist_new_uninit(&out->of.list, json_array_size(value));
    for (size_t at = 0; at < out->of.list.size; at++) {
        out->of.list.data[at] = lower(&element, json_array_get(value, at));
    }
    wasmtime_component_valtype_delete(&element);
}

static void lower_enum(const wasmtime_component_enum_type_t *type, const json_t *value, val_t *out) {
    const char *name;
    size_t at = 0, length;
    CHECK(json_is_string(value));
    do {
        CHECK(wasmtime_component_enum_type_names_nth(type, at++, &name, &length));
    } while (strcmp(written(name, length, true), json_string_value(value)) != 0);
    out->of.enumeration = copied(name, length);
}

// "Case", or {"Case": payload}.
static void lower_variant(const wasmtime_component_variant_type_t *type, const json_t *value, val_t *out) {
    void *only = json_object_iter((json_t *)value);
    const char *wanted = json_is_string(value) ? json_string_value(value) : json_object_iter_key(only), *name;
    size_t at = 0, length;
    bool has_payload;
    type_t payload;
    CHECK(wanted != NULL);
    for (;;) {
        CHECK(wasmtime_component_variant_type_case_nth(type, at++, &name, &length, &has_payload, &payload));
        if (strcmp(written(name, length, true), wanted) == 0) {
            break;
        }
        if (has_payload) {
            wasmtime_component_valtype_delete(&payload);
        }
    }
    out->of.variant.discriminant = copied(name, length);
    out->of.variant.val = has_payload ? lower_inner(&payload, json_object_iter_value(only)) : NULL;
}

static void lower_option(const wasmtime_component_option_type_t *type, const json_t *value, val_t *out) {
    type_t inner;
    wasmtime_component_option_type_ty(type, &inner);
    if (json_is_null(value)) {
        wasmtime_component_valtype_delete(&inner);
        out->of.option = NULL;
    } else {
        out->of.option = lower_inner(&inner, value);
    }
}

static val_t lower(const type_t *type, const json_t *value) {
    val_t out = {0};
    CHECK(value != NULL);
    switch (type->kind) {
    case WASMTIME_COMPONENT_VALTYPE_BOOL:
        CHECK(json_is_boolean(value));
        out.kind = WASMTIME_COMPONENT_BOOL, out.of.boolean = json_is_true(value);
        break;
    case WASMTIME_COMPONENT_VALTYPE_U8:
        out.kind = WASMTIME_COMPONENT_U8, out.of.u8 = (uint8_t)number(value);
        break;
    case WASMTIME_COMPONENT_VALTYPE_U16:
        out.kind = WASMTIME_COMPONENT_U16, out.of.u16 = (uint16_t)number(value);
        break;
    case WASMTIME_COMPONENT_VALTYPE_U32:
        out.kind = WASMTIME_COMPONENT_U32, out.of.u32 = (uint32_t)number(value);
        break;
    case WASMTIME_COMPONENT_VALTYPE_U64:
        out.kind = WASMTIME_COMPONENT_U64, out.of.u64 = number(value);
        break;
    case WASMTIME_COMPONENT_VALTYPE_STRING:
        CHECK(json_is_string(value));
        out.kind = WASMTIME_COMPONENT_STRING;
        out.of.string = copied(json_string_value(value), json_string_length(value));
        break;
    case WASMTIME_COMPONENT_VALTYPE_LIST:
        out.kind = WASMTIME_COMPONENT_LIST, lower_list(type->of.list, value, &out);
        break;
    case WASMTIME_COMPONENT_VALTYPE_RECORD:
        out.kind = WASMTIME_COMPONENT_RECORD, lower_record(type->of.record, value, &out);
        break;
    case WASMTIME_COMPONENT_VALTYPE_TUPLE:
        out.kind = WASMTIME_COMPONENT_TUPLE, lower_tuple(type->of.tuple, value, &out);
        break;
    case WASMTIME_COMPONENT_VALTYPE_VARIANT:
        out.kind = WASMTIME_COMPONENT_VARIANT, lower_variant(type->of.variant, value, &out);
        break;
    case WASMTIME_COMPONENT_VALTYPE_ENUM:
        out.kind = WASMTIME_COMPONENT_ENUM, lower_enum(type->of.enum_, value, &out);
        break;
    case WASMTIME_COMPONENT_VALTYPE_OPTION:
        out.kind = WASMTIME_COMPONENT_OPTION, lower_option(type->of.option, value, &out);
        break;
    default:
        CHECK(!"no such argument is in the contract");
    }
    return out;
}

// --- To JSON: values know themselves what they are ---------------------------------------------------------------------

static json_t *lift(const val_t *value);

// A list and a tuple are laid out alike.
static json_t *lift_array(const val_t *elements, size_t count) {
    json_t *array = json_array();
    for (size_t at = 0; at < count; at++) {
        CHECK(json_array_append_new(array, lift(&elements[at])) == 0);
    }
    return array;
}

static json_t *lift_record(const wasmtime_component_valrecord_t *record) {
    json_t *object = json_object();
    for (size_t at = 0; at < record->size; at++) {
        const wasm_name_t *name = &record->data[at].name;
        json_t *field = lift(&record->data[at].val);
        CHECK(json_object_set_new(object, written(name->data, name->size, false), field) == 0);
    }
    return object;
}

static json_t *lift_case(const wasm_name_t *name, const val_t *payload) {
    json_t *inner = payload == NULL ? NULL : lift(payload);
    const char *text = written(name->data, name->size, true);
    return inner == NULL ? json_string(text) : json_pack("{s:o}", text, inner);
}

static json_t *lift(const val_t *value) {
    switch (value->kind) {
    case WASMTIME_COMPONENT_BOOL:
        return json_boolean(value->of.boolean);
    case WASMTIME_COMPONENT_U8:
        return json_integer(value->of.u8);
    case WASMTIME_COMPONENT_U16:
        return json_integer(value->of.u16);
    case WASMTIME_COMPONENT_U32:
        return json_integer(value->of.u32);
    case WASMTIME_COMPONENT_U64:
        CHECK(value->of.u64 <= INT64_MAX); // more than the library's integers hold
        return json_integer((json_int_t)value->of.u64);
    case WASMTIME_COMPONENT_STRING:
        return json_stringn(value->of.string.data, value->of.string.size);
    case WASMTIME_COMPONENT_LIST:
        return lift_array(value->of.list.data, value->of.list.size);
    case WASMTIME_COMPONENT_RECORD:
        return lift_record(&value->of.record);
    case WASMTIME_COMPONENT_TUPLE:
        return lift_array(value->of.tuple.data, value->of.tuple.size);
    case WASMTIME_COMPONENT_VARIANT:
        return lift_case(&value->of.variant.discriminant, value->of.variant.val);
    case WASMTIME_COMPONENT_ENUM:
        return lift_case(&value->of.enumeration, NULL);
    case WASMTIME_COMPONENT_OPTION:
        return value->of.option == NULL ? json_null() : lift(value->of.option);
    case WASMTIME_COMPONENT_RESULT:
        return json_pack("{s:o}", value->of.result.is_ok ? "Ok" : "Err",
                         value->of.result.val == NULL ? json_null() : lift(value->of.result.val));
    default:
        CHECK(!"no such result is in the contract");
    }
    return NULL;
}

// --- Calls -----------------------------------------------------------------------------------------------------------

struct plugin {
    wasm_engine_t *engine;
    wasmtime_store_t *store;
    wasmtime_context_t *context;
    wasmtime_component_t *component;
    wasmtime_component_linker_t *linker;
    wasmtime_component_instance_t instance;
};

static void load(const char *path, struct plugin *plugin) {
    FILE *file = fopen(path, "rb");
    CHECK(file != NULL && fseek(file, 0, SEEK_END) == 0);
    size_t size = (size_t)ftell(file);
    uint8_t *bytes = malloc(size);
    rewind(file);
    CHECK(bytes != NULL && fread(bytes, 1, size, file) == size);
    fclose(file);

    wasm_config_t *config = wasm_config_new();
    wasmtime_config_wasm_relaxed_simd_set(config, false);
    plugin->engine = wasm_engine_new_with_config(config);
    plugin->store = wasmtime_store_new(plugin->engine, NULL, NULL);
    plugin->context = wasmtime_store_context(plugin->store);
    ok(wasmtime_component_new(plugin->engine, bytes, size, &plugin->component));
    free(bytes);
    // A linker that has nothing: a component with an import is refused here.
    plugin->linker = wasmtime_component_linker_new(plugin->engine);
    ok(wasmtime_component_linker_instantiate(plugin->linker, plugin->context, plugin->component, &plugin->instance));
}

static void unload(struct plugin *plugin) {
    wasmtime_component_linker_delete(plugin->linker);
    wasmtime_component_delete(plugin->component);
    wasmtime_store_delete(plugin->store);
    wasm_engine_delete(plugin->engine);
}

// A function by its name in the script, such as `lifecycle.open`.
static wasmtime_component_func_t find(struct plugin *plugin, const char *function) {
    char interface[128];
    const char *dot = strchr(function, '.');
    wasmtime_component_func_t found;
    CHECK(dot != NULL);
    int length = snprintf(interface, sizeof interface, "postbell:notify/%.*s@0.1.0", (int)(dot - function), function);
    wasmtime_component_export_index_t *outer = wasmtime_component_instance_get_export_index(
        &plugin->instance, plugin->context, NULL, interface, (size_t)length);
    CHECK(outer != NULL);
    wasmtime_component_export_index_t *inner = wasmtime_component_instance_get_export_index(
        &plugin->instance, plugin->context, outer, dot + 1, strlen(dot + 1));
    CHECK(inner != NULL);
    CHECK(wasmtime_component_instance_get_func(&plugin->instance, plugin->context, inner, &found));
    wasmtime_component_export_index_delete(inner);
    wasmtime_component_export_index_delete(outer);
    return found;
}

static json_t *call(struct plugin *plugin, const char *function, const json_t *arguments) {
    enum { MOST = 4 };
    val_t lowered[MOST], result = {0};
    type_t kind;
    const char *name;
    size_t length;
    wasmtime_component_func_t found = find(plugin, function);
    wasmtime_component_func_type_t *type = wasmtime_component_func_type(&found, plugin->context);
    size_t count = wasmtime_component_func_type_param_count(type);
    CHECK(json_array_size(arguments) == count && count <= MOST);
    for (size_t at = 0; at < count; at++) {
        CHECK(wasmtime_component_func_type_param_nth(type, at, &name, &length, &kind));
        lowered[at] = lower(&kind, json_array_get(arguments, at));
        wasmtime_component_valtype_delete(&kind);
    }
    CHECK(wasmtime_component_func_type_result(type, &kind)); // every function that a script calls has one
    wasmtime_component_valtype_delete(&kind);
    ok(wasmtime_component_func_call(&found, plugin->context, lowered, count, &result, 1));
    json_t *lifted = lift(&result);
    for (size_t at = 0; at < count; at++) {
        wasmtime_component_val_delete(&lowered[at]);
    }
    wasmtime_component_val_delete(&result);
    wasmtime_component_func_type_delete(type);
    return lifted;
}

int main(int count, char **arguments) {
    struct plugin plugin;
    json_error_t error;
    json_t *step;
    CHECK(count == 2);
    load(arguments[1], &plugin);
    while ((step = json_loadf(stdin, JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL, &error)) != NULL) {
        const char *function = json_string_value(json_object_get(step, "function"));
        CHECK(function != NULL);
        json_t *result = call(&plugin, function, json_object_get(step, "arguments"));
        CHECK(json_dumpf(result, stdout, JSON_COMPACT | JSON_ENCODE_ANY) == 0 && putchar('\n') == '\n');
        json_decref(result);
        json_decref(step);
    }
    CHECK(json_error_code(&error) == json_error_premature_end_of_input);
    unload(&plugin);
    return 0;
}
