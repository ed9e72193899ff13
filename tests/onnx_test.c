/* The cases of the ONNX project, as Debian packs them, and in the test onnx-own ours, which
 * tests/data/make_onnx.py writes: each model is read, compiled for this CPU, run, and compared with
 * the reference interpreter and the outputs that stand beside it (support/onnx_case.h).
 *
 * tests/onnx_cases.txt holds what is expected of each: `pass`, what had to be known at compile time
 * for it to pass, or why the model is refused. The test fails when a case is wrong, crashes, or is
 * worse than it was; --update writes the file again. --data FOLDER and --list FILE stand for other
 * cases and what is expected of them. A word names the cases to run, by a part of their names;
 * their results are printed then. --verbose prints of each case that passes what answered it and
 * how near.
 *
 * Workers are child processes that share the table of results; one that dies costs its case, no
 * more. */
#include <dirent.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/file.h"
#include "base/strbuf.h"
#include "support/onnx_case.h"

#define DEBIAN_LIST "tests/onnx_cases.txt"
#define SKIPPED 77
#define MAX_CASES 4096
#define WORKERS 2
#define CASE_SECONDS 30

static const char *const suites[] = {"node", "simple", "pytorch-converted", "pytorch-operator"};

/* What the command line says. */
struct request {
    const char *data, *list, *filter;
    bool update, verbose;
};

static void work(const char *data, struct onnx_result *results, uint32_t count, uint32_t worker)
{
    for (uint32_t i = worker; i < count; i += WORKERS) {
        if (results[i].text[0] != '\0')
            continue;
        snprintf(results[i].text, sizeof results[i].text, "crash");
        alarm(CASE_SECONDS);
        onnx_case_run(data, &results[i]);
    }
    _exit(0);
}

static void run_all(const char *data, struct onnx_result *results, uint32_t count)
{
    pid_t pids[WORKERS];
    uint32_t alive = WORKERS;
    fflush(NULL);
    for (uint32_t w = 0; w < WORKERS; w++)
        if ((pids[w] = fork()) == 0)
            work(data, results, count, w);
    while (alive > 0) {
        int status;
        pid_t pid = wait(&status);
        for (uint32_t w = 0; w < WORKERS; w++) {
            if (pids[w] != pid)
                continue;
            alive--;
            if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
                continue;
            alive++; /* its case says "crash"; the next worker goes on behind it */
            if ((pids[w] = fork()) == 0)
                work(data, results, count, w);
        }
    }
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct onnx_result *)a)->name, ((const struct onnx_result *)b)->name);
}

static uint32_t find_cases(const struct request *request, struct onnx_result *results)
{
    uint32_t count = 0;
    for (size_t s = 0; s < sizeof suites / sizeof *suites; s++) {
        char path[256];
        struct dirent *entry;
        snprintf(path, sizeof path, "%s/%s", request->data, suites[s]);
        DIR *folder = opendir(path);
        while (folder && (entry = readdir(folder)) != NULL && count < MAX_CASES) {
            if (entry->d_name[0] == '.' ||
                (request->filter && !strstr(entry->d_name, request->filter)))
                continue;
            snprintf(results[count++].name, sizeof results->name, "%s/%.120s", suites[s],
                     entry->d_name);
        }
        if (folder)
            closedir(folder);
    }
    qsort(results, count, sizeof *results, by_name);
    return count;
}

static bool starts(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* What the list expects of a case; NULL when it does not name it. */
static const char *expected(const char *list, const char *name, char *line, size_t size)
{
    size_t length = strlen(name);
    for (const char *at = list; at && *at != '\0'; at = strchr(at, '\n'), at += at != NULL) {
        if (strncmp(at, name, length) == 0 && at[length] == ' ') {
            snprintf(line, size, "%.*s", (int)strcspn(at + length + 1, "\n"), at + length + 1);
            return line;
        }
    }
    return NULL;
}

static uint32_t count_worse(const struct onnx_result *results, uint32_t count, const char *list)
{
    uint32_t worse = 0;
    for (uint32_t i = 0; i < count; i++) {
        char line[600];
        const char *before = expected(list, results[i].name, line, sizeof line);
        const char *now = results[i].text;
        bool pass = starts(now, "pass"), refused = starts(now, "refused");
        /* What is told at each call may not become what must be known. */
        bool demands = pass && before && strcmp(before, "pass") == 0 && starts(now, "pass, known");
        bool bad = demands || (!pass && (!refused || !before || starts(before, "pass")));
        bool unlisted = before == NULL || strcmp(before, now) != 0;
        if (bad || unlisted)
            printf("%s %s: %s; listed: %s\n", bad ? "FAIL" : "note", results[i].name, now,
                   before ? before : "nothing");
        worse += bad;
    }
    return worse;
}

static bool write_list(const char *path, const struct onnx_result *results, uint32_t count)
{
    struct arena arena;
    struct strbuf text;
    struct error err;
    arena_init(&arena);
    strbuf_init(&text, &arena);
    for (uint32_t i = 0; i < count; i++)
        strbuf_printf(&text, "%s %s\n", results[i].name, results[i].text);
    bool ok = file_write_atomic(path, text.data, text.size_bytes, 0644, &err);
    arena_release(&arena);
    return ok;
}

/* Of the cases that pass, with inputs that had to be constants or without. */
static void print_answers(const struct onnx_result *results, uint32_t count, bool constants)
{
    uint32_t answers[ONNX_ANSWER_COUNT] = {0}, all = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (!starts(results[i].text, "pass") || (results[i].constant_count > 0) != constants)
            continue;
        answers[results[i].answer]++;
        all++;
    }
    printf("%u pass %s: %u compiled, %u folded\n", all,
           constants ? "with inputs made constants first" : "as they are", answers[ONNX_COMPILED],
           answers[ONNX_FOLDED]);
}

static void print_distances(const struct onnx_result *results, uint32_t count)
{
    struct onnx_distance all = {0};
    uint32_t cases = 0, excused = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct onnx_distance *d = &results[i].distance;
        if (!starts(results[i].text, "pass"))
            continue;
        const struct onnx_exception *exception = results[i].exception;
        if (exception && d->data_ulp > 0)
            printf("%s: the data are off by %.3g units in the last place%s, %g allowed: %s\n",
                   results[i].name, d->data_ulp,
                   exception->of_largest ? " of the largest element" : "", exception->ulp,
                   exception->reason);
        else
            all.data_ulp = fmax(all.data_ulp, d->data_ulp);
        all.elements += d->elements;
        all.undetermined += d->undetermined;
        all.worst_ratio = fmax(all.worst_ratio, d->worst_ratio);
        cases += d->undetermined > 0;
        excused += d->undetermined > 0 && onnx_unchecked_because(results[i].name);
    }
    printf("%lld elements, %lld of them undetermined, in %u cases (%u are listed for it)\n",
           (long long)all.elements, (long long)all.undetermined, cases, excused);
    printf("compiled code is off by at most %.3g of its bound, the data by %.3g units in the last "
           "place beyond it\n",
           all.worst_ratio, all.data_ulp);
}

static void print_totals(const struct onnx_result *results, uint32_t count)
{
    uint32_t pass = 0, refused = 0, dense = 0, dense_pass = 0;
    for (uint32_t i = 0; i < count; i++) {
        bool passes = starts(results[i].text, "pass");
        pass += passes;
        refused += starts(results[i].text, "refused");
        dense += results[i].dense;
        dense_pass += results[i].dense && passes;
    }
    printf("%u cases: %u pass (%.1f %%), %u refused, %u wrong\n", count, pass, 100.0 * pass / count,
           refused, count - pass - refused);
    if (dense > 0)
        printf("of %u with dense tensors of numbers only, %u pass (%.1f %%)\n", dense, dense_pass,
               100.0 * dense_pass / dense);
    print_answers(results, count, false);
    print_answers(results, count, true);
    print_distances(results, count);
}

static void print_case(const struct onnx_result *r)
{
    printf("%s %s", r->name, r->text);
    if (starts(r->text, "pass"))
        printf("; %s, %u launches, %lld elements, %lld undetermined, %.3g of its bound, data %.3g "
               "beyond",
               r->answer == ONNX_FOLDED ? "folded" : "compiled", r->launches,
               (long long)r->distance.elements, (long long)r->distance.undetermined,
               r->distance.worst_ratio, r->distance.data_ulp);
    printf("\n");
}

static bool parse_request(int argc, char **argv, struct request *out)
{
    *out = (struct request){.data = ONNX_DEBIAN_DATA, .list = DEBIAN_LIST};
    for (int i = 1; i < argc; i++) {
        bool more = i + 1 < argc;
        if (strcmp(argv[i], "--update") == 0)
            out->update = true;
        else if (strcmp(argv[i], "--verbose") == 0)
            out->verbose = true;
        else if (more && strcmp(argv[i], "--data") == 0)
            out->data = argv[++i];
        else if (more && strcmp(argv[i], "--list") == 0)
            out->list = argv[++i];
        else if (argv[i][0] == '-' || out->filter)
            return false;
        else
            out->filter = argv[i];
    }
    return true;
}

static int check_list(const struct request *request, const struct onnx_result *results,
                      uint32_t count)
{
    char *list = NULL;
    size_t size = 0;
    struct error err;
    if (request->update)
        return write_list(request->list, results, count) ? 0 : 1;
    if (!file_read(request->list, (size_t)1 << 20, &list, &size, &err)) {
        printf("cannot read %s: --update writes it\n", request->list);
        return 1;
    }
    uint32_t worse = count_worse(results, count, list);
    free(list);
    return worse > 0;
}

int main(int argc, char **argv)
{
    struct request request;
    struct onnx_result *results = mmap(NULL, MAX_CASES * sizeof *results, PROT_READ | PROT_WRITE,
                                       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (!parse_request(argc, argv, &request) || results == MAP_FAILED) {
        printf("usage: test-onnx [--data FOLDER] [--list FILE] [--update] [--verbose] [NAME]\n");
        return 1;
    }
    uint32_t count = find_cases(&request, results);
    if (count == 0) {
        printf("no cases in %s; those of Debian are in libonnx-testdata\n", request.data);
        return SKIPPED;
    }
    run_all(request.data, results, count);
    for (uint32_t i = 0; i < count && (request.filter || request.verbose); i++)
        print_case(&results[i]);
    print_totals(results, count);
    return request.filter ? 0 : check_list(&request, results, count);
}
