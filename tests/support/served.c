/* A registry of its own for a test. */
#include "served.h"

#include <fcntl.h>
#include <ftw.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/hash.h"
#include "urza/client.h"

/* cmocka wants these first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void run_server(const struct served *served, const char *build, int out, const char *option,
                       const char *value)
{
    char program[1024], data[128], home[128], log[128], port[16];
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    snprintf(program, sizeof program, "%s/urza", build);
    snprintf(data, sizeof data, "%s/data", served->folder);
    snprintf(home, sizeof home, "%s/home", served->folder);
    snprintf(log, sizeof log, "%s/log", served->folder);
    snprintf(port, sizeof port, "%d", served->port);
    int errors = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    dup2(out, STDOUT_FILENO);
    dup2(errors, STDERR_FILENO);
    setenv("URZA_HOME", home, 1);
    execl(program, program, "serve", "--data", data, "--port", port, option, value, (char *)NULL);
    _exit(127);
}

void served_start(struct served *served, const char *build, const char *option, const char *value)
{
    int ends[2];
    char line[256] = "";
    if (served->folder[0] == '\0') {
        snprintf(served->folder, sizeof served->folder, "/tmp/urza-served-XXXXXX");
        assert_non_null(mkdtemp(served->folder));
    }
    assert_non_null(build);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    served->pid = fork();
    assert_true(served->pid >= 0);
    if (served->pid == 0)
        run_server(served, build, ends[1], option, value);
    close(ends[1]);
    FILE *out = fdopen(ends[0], "r");
    if (!fgets(line, sizeof line, out) ||
        sscanf(line, "Urza serves at http://127.0.0.1:%d", &served->port) != 1)
        fail_msg("the server does not start: %s", line);
    fclose(out);
    snprintf(served->url, sizeof served->url, "http://127.0.0.1:%d", served->port);
}

void served_stop(struct served *served)
{
    int status = 0;
    if (served->pid == 0)
        return;
    kill(served->pid, SIGTERM);
    assert_int_equal(waitpid(served->pid, &status, 0), served->pid);
    served->pid = 0;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("the server ended with status %#x", (unsigned)status);
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *at)
{
    (void)info, (void)kind, (void)at;
    return remove(path);
}

void served_remove(struct served *served)
{
    served_stop(served);
    if (served->folder[0] != '\0')
        nftw(served->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    served->folder[0] = '\0';
}

void served_key(const struct served *served, const char *token, uint8_t out[32])
{
    const urza_client_options options = {.token = token};
    urza_client *client;
    urza_answer *answer;
    urza_error err;
    assert_int_equal(urza_client_open(served->url, &options, &client, &err), 0);
    assert_int_equal(urza_client_status(client, &answer, &err), 0);
    json_t *status = json_loads(urza_answer_json(answer), 0, NULL);
    const char *hex = json_string_value(json_object_get(status, "public_key"));
    assert_non_null(hex);
    assert_true(hex_decode(hex, out, 32));
    json_decref(status);
    urza_answer_free(answer);
    urza_client_close(client);
}
