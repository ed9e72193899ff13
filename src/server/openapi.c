/* The OpenAPI description of the interface, from routes.def and records.def. */
#include <string.h>

#include "base/json.h"
#include "compiler/compile.h"
#include "server/api.h"
#include "server/tokens.h"

static json_t *reference(const char *name)
{
    struct strbuf text;
    struct arena arena;
    arena_init(&arena);
    strbuf_init(&text, &arena);
    strbuf_printf(&text, "#/components/schemas/%s", name);
    json_t *value = json_pack("{s:s}", "$ref", text.data);
    arena_release(&arena);
    return value;
}

static json_t *content(const char *type, json_t *schema)
{
    return json_pack("{s:{s:o}}", type, "schema", schema);
}

/* Schemas: those of records, and those in schemas.json. Constraints that schemas cannot express
 * (that a blueprint is a graph, say) are in descriptions there. */

extern const char schemas_json[]; /* written by tools/embed */

static json_t *field_schema(const struct record_field *field)
{
    static const char *const types[] = {
        [FIELD_TEXT] = "string", [FIELD_INTEGER] = "integer", [FIELD_REAL] = "number"};
    json_t *schema = json_object();
    if (field->type == FIELD_LIST)
        json_object_update_new(
            schema, json_pack("{s:s, s:{s:s}}", "type", "array", "items", "type", "string"));
    else if (field->type != FIELD_JSON)
        json_object_set_new(schema, "type", json_string(types[field->type]));
    if (field->one_of)
        json_object_set_new(schema, "enum", field_values(field));
    else if (field->doc[0] != '\0')
        json_object_set_new(schema, "description", json_string(field->doc));
    return schema;
}

static json_t *record_schema(enum record_kind kind)
{
    const struct record_type *type = record_type(kind);
    json_t *fields = json_object();
    json_object_set_new(fields, "id", json_pack("{s:s}", "type", "string"));
    for (uint32_t i = 0; i < type->field_count; i++)
        if (!type->fields[i].secret)
            json_object_set_new(fields, type->fields[i].name, field_schema(&type->fields[i]));
    return json_pack("{s:s, s:s, s:o, s:[s]}", "type", "object", "description", type->doc,
                     "properties", fields, "required", "id");
}

static json_t *page_schema(const char *of)
{
    return json_pack("{s:s, s:{s:{s:s, s:o}, s:{s:[s, s]}}, s:[s, s]}", "type", "object",
                     "properties", "items", "type", "array", "items", reference(of), "next", "type",
                     "string", "null", "required", "items", "next");
}

/* The names of answers in routes.def, and the kinds that they list. */
static const struct shown {
    const char *one, *many;
    enum record_kind kind;
} shown[] = {{"Blueprint", "Blueprints", RECORD_blueprint},
             {"Kernel", "Kernels", RECORD_kernel},
             {"Change", "Changes", RECORD_change},
             {"Observation", "Observations", RECORD_observation},
             {"Alias", "Aliases", RECORD_alias},
             {"Job", "Jobs", RECORD_job},
             {"Compilation", "Compilations", RECORD_compilation},
             {"Tuning", "Tunings", RECORD_tuning},
             {"Failure", "Failures", RECORD_failure},
             {"Event", "Events", RECORD_event}};
#define SHOWN_COUNT (sizeof shown / sizeof shown[0])

static json_t *make_schemas(void)
{
    json_t *schemas = json_loads(schemas_json, JSON_REJECT_DUPLICATES, NULL);
    for (size_t i = 0; schemas && i < SHOWN_COUNT; i++) {
        json_object_set_new(schemas, shown[i].one, record_schema(shown[i].kind));
        json_object_set_new(schemas, shown[i].many, page_schema(shown[i].one));
    }
    return schemas;
}

/* Operations. */

static const struct asked {
    route_fn *handle;
    const char *schema;
} asked[] = {{route_compile, "CompileAsk"},         {route_batch, "BatchAsk"},
             {route_optimize, "OptimizeAsk"},       {route_submit, "SubmitAsk"},
             {route_change_kernel, "KernelChange"}, {route_observe, "ObservationAsk"},
             {route_set_alias, "AliasAsk"},         {route_blueprint_status, "StatusChange"}};

static void add_body(const struct route *route, json_t *operation)
{
    const char *name = NULL;
    if (route->body == BODY_NOTHING)
        return;
    for (size_t i = 0; i < sizeof asked / sizeof asked[0]; i++)
        if (asked[i].handle == route->handle)
            name = asked[i].schema;
    json_t *types = content("application/json", name ? reference(name) : json_object());
    if (route->body == BODY_SOURCE)
        json_object_set_new(
            types, "application/octet-stream",
            json_pack("{s:{s:s, s:s}}", "schema", "type", "string", "format", "binary"));
    json_object_set_new(operation, "requestBody",
                        json_pack("{s:b, s:o}", "required", 1, "content", types));
}

static json_t *answer_content(const struct route *route)
{
    static const char *const raw[][2] = {{"package", "application/vnd.urza.package"},
                                         {"text", "text/plain"},
                                         {"text", "application/openmetrics-text"},
                                         {"source", "application/octet-stream"},
                                         {"file", "text/javascript"},
                                         {"file", "text/css"},
                                         {"file", "image/svg+xml"},
                                         {"svg", "image/svg+xml"},
                                         {"page", "text/html"}};
    const char *answers = route->answers;
    if (strcmp(answers, "object") == 0)
        return content("application/json", json_pack("{s:s}", "type", "object"));
    if (strcmp(answers, "events") == 0) /* a stream of events, each with a name and JSON data */
        return content("text/event-stream",
                       json_pack("{s:s}", "description",
                                 "events `progress` and `end`: {state, stage, kernel_id}"));
    json_t *types = json_object();
    for (size_t i = 0; i < sizeof raw / sizeof raw[0]; i++)
        if (strcmp(raw[i][0], answers) == 0)
            json_object_set_new(types, raw[i][1],
                                json_pack("{s:{s:s}}", "schema", "type", "string"));
    if (strcmp(answers, "source") == 0)
        json_object_set_new(types, "application/json", json_pack("{s:{}}", "schema"));
    if (json_object_size(types) == 0)
        json_object_set_new(types, "application/json",
                            json_pack("{s:o}", "schema", reference(answers)));
    return types;
}

static void add_answer(json_t *answers, int status, const char *text, json_t *of)
{
    char name[8];
    snprintf(name, sizeof name, "%d", status);
    json_object_set_new(answers, name,
                        json_pack("{s:s, s:o*}", "description", text, "content", of));
}

static void add_answers(const struct route *route, json_t *operation)
{
    static const int problems[] = {400, 401, 403, 404, 405, 409, 413, 415, 422, 500, 503};
    bool created = route->handle == route_submit || route->handle == route_observe;
    json_t *answers = json_object();
    add_answer(answers, created ? 201 : 200, "done", answer_content(route));
    if (route->handle == route_compile)
        add_answer(answers, 202, "a job for it: Location says where",
                   content("application/json", reference("Job")));
    if (strstr("package object svg page file", route->answers))
        add_answer(answers, 304, "as you have it", NULL);
    if (route->handle == route_package) {
        add_answer(answers, 206, "the range that was asked for", answer_content(route));
        add_answer(answers, 416, "no such range", NULL);
    }
    for (size_t i = 0; i < sizeof problems / sizeof problems[0]; i++) {
        bool health = route->handle == route_ready && problems[i] == 503;
        add_answer(answers, problems[i], health ? "not ready" : "an error",
                   content("application/json", reference(health ? "Health" : "Problem")));
    }
    json_object_set_new(operation, "responses", answers);
}

static void add_path_parameters(const struct route *route, json_t *parameters)
{
    bool named = strstr(route->path, "/aliases/") != NULL;
    for (const char *at = strchr(route->path, '{'); at; at = strchr(at + 1, '{')) {
        size_t length = strcspn(at, "}") - 1;
        json_t *schema = json_pack("{s:s, s:i, s:s}", "type", "string", "maxLength",
                                   named ? 100 : 200, "pattern",
                                   named ? "^(?!kernel-)[A-Za-z0-9_-][A-Za-z0-9._-]*$"
                                         : "^[A-Za-z0-9_~@:+-][A-Za-z0-9._~@:+-]*$");
        json_array_append_new(parameters, json_pack("{s:s%, s:s, s:b, s:o}", "name", at + 1, length,
                                                    "in", "path", "required", 1, "schema", schema));
    }
}

static void add_query(json_t *parameters, const char *name, json_t *schema)
{
    json_array_append_new(
        parameters, json_pack("{s:s, s:s, s:o}", "name", name, "in", "query", "schema", schema));
}

static json_t *range_schema(int least, int most)
{
    return json_pack("{s:s, s:i, s:i}", "type", "integer", "minimum", least, "maximum", most);
}

static void add_parameters(const struct route *route, json_t *operation)
{
    json_t *parameters = json_array();
    add_path_parameters(route, parameters);
    for (size_t i = 0; i < SHOWN_COUNT; i++)
        if (strcmp(shown[i].many, route->answers) == 0)
            list_parameters(shown[i].kind, parameters);
    if (route->handle == route_status)
        add_query(parameters, "history", range_schema(0, 1000));
    if (route->handle == route_compile || route->handle == route_optimize)
        add_query(parameters, "priority", range_schema(0, 9));
    if (route->handle == route_compile)
        add_query(parameters, "async", json_pack("{s:s}", "type", "boolean"));
    json_object_set_new(operation, "parameters", parameters);
}

static json_t *make_operation(const struct route *route)
{
    json_t *operation = json_object();
    json_object_set_new(operation, "summary", json_string(route->doc));
    if (route->scope != SCOPE_ANYBODY)
        json_object_set_new(operation, "security",
                            json_pack("[{s:[s]}, {}]", "token", scope_name(route->scope)));
    add_parameters(route, operation);
    add_body(route, operation);
    add_answers(route, operation);
    return operation;
}

bool openapi_make(struct server *server, struct error *err)
{
    json_t *paths = json_object(), *schemas = make_schemas();
    struct strbuf text;
    for (uint32_t i = 0; route_at(i); i++) {
        const struct route *route = route_at(i);
        json_t *path = json_object_get(paths, route->path);
        char method[8];
        if (!path) {
            path = json_object();
            json_object_set_new(paths, route->path, path);
        }
        for (size_t at = 0; at < sizeof method; at++)
            method[at] = (char)(route->method[at] ? route->method[at] | 0x20 : '\0');
        method[sizeof method - 1] = '\0';
        json_object_set_new(path, method, make_operation(route));
    }
    json_t *all =
        json_pack("{s:s, s:{s:s, s:s}, s:o, s:{s:o, s:{s:{s:s, s:s}}}}", "openapi", "3.1.0", "info",
                  "title", "Urza", "version", URZA_VERSION, "paths", paths, "components", "schemas",
                  schemas, "securitySchemes", "token", "type", "http", "scheme", "bearer");
    if (!all)
        return fail(err, ERR_BUG, "the description of the interface cannot be made");
    strbuf_init(&text, &server->arena);
    json_write_canonical(all, &text);
    json_decref(all);
    server->openapi = text.data;
    server->openapi_bytes = text.size_bytes;
    return true;
}
