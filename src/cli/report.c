/* Output of commands: results on standard output, errors and progress on standard error. */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/board.h"
#include "base/child.h"
#include "base/error.h"
#include "base/json.h"
#include "base/strbuf.h"
#include "cli/cli_priv.h"

json_t *report_number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

json_t *report_text(const char *text)
{
    json_t *string = json_string(text);
    if (string)
        return string;
    char *plain = strdup(text);
    for (char *at = plain; at && *at != '\0'; at++)
        if ((unsigned char)*at >= 0x80)
            *at = '?';
    string = json_string(plain ? plain : "");
    free(plain);
    return string;
}

static void print_line(const json_t *value, FILE *file)
{
    if (!value)
        child_no_memory(); /* jansson is out of memory */
    struct arena arena;
    struct strbuf text;
    arena_init(&arena);
    strbuf_init(&text, &arena);
    json_write_canonical(value, &text);
    strbuf_puts(&text, "\n");
    report_block(file, text.data, text.size_bytes);
    arena_release(&arena);
}

void report_json(json_t *value)
{
    print_line(value, stdout);
    json_decref(value);
}

void report_error(bool json, const struct error *err)
{
    if (json) {
        json_t *object = json_object();
        json_object_set_new(object, "error", json_string(error_name(err->code)));
        json_object_set_new(object, "message", report_text(err->message));
        json_object_set_new(object, "place", report_text(err->place));
        print_line(object, stderr);
        json_decref(object);
        return;
    }
    fprintf(stderr, "urza: %s: ", error_name(err->code));
    report_part(stderr, err->place);
    if (err->place[0] != '\0')
        fputs(": ", stderr);
    report_part(stderr, err->message);
    putc('\n', stderr);
}

static void put_terminal(const char *text)
{
    ssize_t written = write(STDERR_FILENO, text, strlen(text));
    (void)written; /* if the terminal is gone, progress does not matter */
}

void report_warning(const struct cli *cli, const char *fmt, ...)
{
    char *text = NULL;
    va_list args;
    if (cli->quiet)
        return;
    va_start(args, fmt);
    int size = vasprintf(&text, fmt, args);
    va_end(args);
    if (size < 0)
        child_no_memory();
    if (cli->progress) /* a child prints while its parent shows a line */
        put_terminal("\r\033[K");
    report_lines(stderr, "urza: warning: %s\n", text);
    free(text);
}

#define QUARTERS 4

static void later(struct timespec *time)
{
    const long second = 1000000000;
    time->tv_nsec += second / QUARTERS;
    time->tv_sec += time->tv_nsec / second;
    time->tv_nsec %= second;
}

static void put_progress(const struct progress *progress, unsigned seconds)
{
    char what[64], line[96];
    board_describe(board_get(progress->board), what, sizeof what);
    snprintf(line, sizeof line, "\r\033[K%s, %u s ", what[0] ? what : progress->what, seconds);
    put_terminal(line);
}

/* Uses write(2), not stdio: compilation forks while this thread runs, and the child must not
 * inherit a locked stream. */
static void *show_progress(void *argument)
{
    struct progress *progress = argument;
    struct timespec next;
    unsigned quarters = QUARTERS - 1; /* of a second; the first line comes after a whole one */
    clock_gettime(CLOCK_MONOTONIC, &next);
    pthread_mutex_lock(&progress->mutex);
    for (next.tv_sec++; !progress->stop; later(&next)) {
        while (!progress->stop &&
               pthread_cond_timedwait(&progress->stopped, &progress->mutex, &next) == 0)
            ;
        if (progress->stop)
            break;
        put_progress(progress, ++quarters / QUARTERS);
    }
    pthread_mutex_unlock(&progress->mutex);
    if (quarters >= QUARTERS)
        put_terminal("\r\033[K");
    return NULL;
}

void progress_begin(struct cli *cli, const char *what)
{
    struct progress *progress = &cli->shown;
    struct board *board = progress->board;
    *progress = (struct progress){.what = what};
    if (!cli->progress)
        return;
    progress->board = board ? board : board_new();
    board_put(progress->board, BOARD_NONE, 0, 0);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&progress->stopped, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&progress->mutex, NULL);

    sigset_t all, before; /* signals are for the main thread */
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    progress->running = pthread_create(&progress->thread, NULL, show_progress, progress) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!progress->running) {
        pthread_cond_destroy(&progress->stopped);
        pthread_mutex_destroy(&progress->mutex);
    }
}

void progress_end(struct cli *cli)
{
    struct progress *progress = &cli->shown;
    if (!progress->running)
        return;
    pthread_mutex_lock(&progress->mutex);
    progress->stop = true;
    pthread_cond_signal(&progress->stopped);
    pthread_mutex_unlock(&progress->mutex);
    pthread_join(progress->thread, NULL);
    pthread_cond_destroy(&progress->stopped);
    pthread_mutex_destroy(&progress->mutex);
    progress->running = false;
}
