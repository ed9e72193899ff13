/* Golden texts: what a pass makes of a graph (tests/golden/passes.txt), and the naive nests that a
 * graph is lowered to (tests/golden/nests.txt). Cases are small: each shows one thing, and a change
 * of the compiler shows as a change of these files.
 *
 * Usage: test-golden [--update]     --update writes the files with what comes out now
 *
 *   == PASS [TARGET]: what is shown        of nests: == what is shown
 *   the graph
 *   --
 *   what comes out, or "fails: " and why
 *
 * Text before the first case is kept. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/file.h"
#include "base/strbuf.h"
#include "compiler/loop/text.h"
#include "compiler/lower/lower.h"
#include "compiler/opt/opt.h"
#include "compiler/target/target.h"

struct golden {
    const char *head;     /* behind "== " */
    const char *input;    /* with its last line's end */
    const char *expected; /* without line ends at its end */
};

/* Writes what comes of the graph to *out, which is empty. */
typedef bool golden_fn(const char *head, const struct graph *graph, struct arena *arena,
                       struct strbuf *out, struct error *err);

static bool pass_case(const char *head, const struct graph *graph, struct arena *arena,
                      struct strbuf *out, struct error *err)
{
    struct graph next, live;
    char name[64], target[64] = "";
    if (sscanf(head, "%63[^ :] %63[^ :]", name, target) < 1 || !pass_find(name))
        return fail(err, ERR_NOT_FOUND, "no pass is named in '%s'", head);
    if (!pass_run(pass_find(name), &next, arena, graph,
                  &(struct pass_setting){target_find(target), true}, err) ||
        !graph_copy_live(&live, arena, &next, err))
        return false;
    graph_print(&live, out);
    return true;
}

static bool nest_case(const char *head, const struct graph *graph, struct arena *arena,
                      struct strbuf *out, struct error *err)
{
    struct partition partition;
    struct lowered_group *groups;
    struct graph owned;
    (void)head;
    if (!pass_run(pass_find("own-outputs"), &owned, arena, graph,
                  &(struct pass_setting){NULL, true}, err) ||
        !lower_graph(&owned, arena, &partition, &groups, err))
        return false;
    for (uint32_t i = 0; i < partition.groups.count; i++) {
        if (!nest_verify(groups[i].nest, err))
            return false;
        nest_print(groups[i].nest, out);
    }
    return true;
}

static void run_case(const struct golden *c, golden_fn *make, struct arena *arena,
                     struct strbuf *out)
{
    struct graph graph;
    struct error err = {0};
    strbuf_init(out, arena);
    if (!graph_parse(&graph, arena, c->input, strlen(c->input), &err) ||
        !make(c->head, &graph, arena, out, &err)) {
        strbuf_init(out, arena);
        strbuf_printf(out, "fails: %s: %s", err.place, err.message);
    }
    while (out->size_bytes > 0 && out->data[out->size_bytes - 1] == '\n')
        out->data[--out->size_bytes] = '\0';
}

/* What stands before the next line that starts with the mark; NULL: there is no such line. *at goes
 * behind the mark. */
static const char *before(struct arena *arena, const char **at, const char *mark)
{
    const char *start = *at, *line = start;
    while (strncmp(line, mark, strlen(mark)) != 0) {
        line = strchr(line, '\n');
        if (!line)
            return NULL;
        line++;
    }
    *at = line + strlen(mark);
    return arena_strndup(arena, start, (size_t)(line - start));
}

/* Behind "== ". */
static bool read_case(struct arena *arena, const char **at, struct golden *out)
{
    size_t line = strcspn(*at, "\n");
    out->head = arena_strndup(arena, *at, line);
    *at += line + ((*at)[line] == '\n');
    out->input = before(arena, at, "--\n");
    if (!out->input)
        return false;
    const char *rest = *at, *next = before(arena, at, "== ");
    size_t size = next ? strlen(next) : strlen(rest);
    *at = next ? *at : NULL;
    while (size > 0 && rest[size - 1] == '\n')
        size--;
    out->expected = arena_strndup(arena, rest, size);
    return true;
}

/* The number of cases that came out otherwise; -1: the file is none. */
static int run_file(const char *path, golden_fn *make, bool update)
{
    struct arena arena;
    struct strbuf written, out;
    struct error err = {0};
    struct golden c;
    char *data;
    size_t size;
    int other = 0, count = 0;
    arena_init(&arena);
    strbuf_init(&written, &arena);
    if (!file_read(path, (size_t)1 << 20, &data, &size, &err)) {
        printf("%s: %s\n", path, err.message);
        return -1;
    }
    const char *at = arena_strndup(&arena, data, size), *head = before(&arena, &at, "== ");
    free(data);
    strbuf_puts(&written, head ? head : "");
    for (at = head ? at : NULL; at && read_case(&arena, &at, &c); count++) {
        run_case(&c, make, &arena, &out);
        strbuf_printf(&written, "%s== %s\n%s--\n%s\n", count ? "\n" : "", c.head, c.input,
                      out.data);
        if (strcmp(out.data, c.expected) == 0)
            continue;
        other++;
        if (!update)
            printf("%s: %s\nexpected:\n%s\nfound:\n%s\n\n", path, c.head, c.expected, out.data);
    }
    if (at || count == 0) {
        printf("%s: a case lacks its line \"--\"\n", path);
        other = -1;
    } else if (update && other > 0 &&
               !file_write_atomic(path, written.data, written.size_bytes, 0644, &err)) {
        printf("%s: %s\n", path, err.message);
        other = -1;
    }
    printf("%s: %d cases, %d %s\n", path, count, other, update ? "written anew" : "otherwise");
    arena_release(&arena);
    return other;
}

int main(int argc, char **argv)
{
    bool update = argc == 2 && strcmp(argv[1], "--update") == 0;
    if (argc > 1 && !update) {
        printf("usage: test-golden [--update]\n");
        return 2;
    }
    int passes = run_file("tests/golden/passes.txt", pass_case, update);
    int nests = run_file("tests/golden/nests.txt", nest_case, update);
    return passes < 0 || nests < 0 || (!update && passes + nests > 0);
}
