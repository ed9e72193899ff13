/* Finds the route of a path. There are few, so a linear search is enough: some 50 comparisons of a
 * few bytes. */
#include <string.h>

#include "server/server_priv.h"
#include "server/tokens.h"

static const struct route routes[] = {
#define ROUTE(method, path, handler, scope, place, body, queries, answers, doc) \
    {#method, path, handler, SCOPE_##scope, PLACE_##place, BODY_##body, queries, answers, doc},
#define PLACE_NOW false
#define PLACE_LATER true
#include "server/routes.def"
#undef PLACE_NOW
#undef PLACE_LATER
#undef ROUTE
};
#define ROUTE_COUNT (sizeof routes / sizeof routes[0])

const struct route *route_at(uint32_t index)
{
    return index < ROUTE_COUNT ? &routes[index] : NULL;
}

struct part {
    const char *at;
    size_t length;
};

/* Whether path matches the pattern; parts in braces are stored in *args. */
static bool matches(const char *pattern, const char *path, struct part args[ROUTE_ARGS_MOST])
{
    uint32_t count = 0;
    while (*pattern != '\0') {
        if (*pattern != '{') {
            if (*pattern++ != *path++)
                return false;
            continue;
        }
        size_t length = strcspn(path, "/");
        if (length == 0)
            return false;
        args[count++] = (struct part){path, length};
        path += length;
        pattern = strchr(pattern, '}') + 1;
    }
    return *path == '\0';
}

static void add_method(char *list, size_t size, const char *method)
{
    size_t used = strlen(list);
    snprintf(list + used, size - used, "%s%s%s", used > 0 ? ", " : "", method,
             strcmp(method, "GET") == 0 ? ", HEAD" : "");
}

const struct route *route_find(const char *method, const char *path, struct arena *arena,
                               const char *args[ROUTE_ARGS_MOST], const char **out_methods)
{
    char methods[64] = "";
    struct part parts[ROUTE_ARGS_MOST] = {{NULL, 0}};
    if (strcmp(method, "HEAD") == 0)
        method = "GET";
    for (size_t i = 0; i < ROUTE_COUNT; i++) {
        if (routes[i].path[1] != path[1] || !matches(routes[i].path, path, parts))
            continue;
        if (strcmp(routes[i].method, method) != 0) {
            add_method(methods, sizeof methods, routes[i].method);
            continue;
        }
        for (uint32_t a = 0; a < ROUTE_ARGS_MOST; a++)
            args[a] = parts[a].at ? arena_strndup(arena, parts[a].at, parts[a].length) : NULL;
        return &routes[i];
    }
    *out_methods = arena_strdup(arena, methods);
    return NULL;
}

bool server_endpoint(uint32_t index, struct endpoint *out)
{
    const struct route *route = route_at(index);
    if (!route)
        return false;
    const char *scope = route->scope == SCOPE_ANYBODY ? "anybody" : scope_name(route->scope);
    *out = (struct endpoint){route->method, route->path, scope, route->doc};
    return true;
}
