/* The owner and the spawner are connected by a packet socket. A request is a packet of numbers with
 * three descriptors: a memory file with the parts of the work one after the other, the write end of
 * a pipe for the child's answer, and that of a second pipe for its exit status, which the spawner
 * writes after reaping the child. A second kind of packet says that a request is over: its child is
 * killed if it still runs. A third kind ends the spawner.
 *
 * 1. End of file on a pipe or socket proves nothing, since a process that the owner forked
 *    meanwhile may hold all of them open. A child's end is known from its exit status, the
 *    spawner's by waiting for it, and the owner's by the spawner's parent having changed.
 * 2. The owner enforces deadlines and cancelling without help of the spawner, which may be stopped.
 *    The spawner enforces the deadlines, too, in case the owner is stopped.
 * 3. A child leads a process group that its own children cannot leave. Orphans become children of
 *    the spawner. */
#include "build/spawner.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/checked.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"

#define NS_PER_MS UINT64_C(1000000)
#define CHILDREN_MOST 1024
#define REQUEST_FDS 3
#define LOOK_MS 500 /* how often the spawner checks that its owner still exists */
/* For a spawner to end by itself; for an owner to report that a request is over. */
#define GRACE_MS 3000
#define STACK_BYTES ((size_t)16 << 20)

enum packet_kind { PACKET_WORK = 1, PACKET_OVER, PACKET_STOP };

struct packet {
    enum packet_kind kind;
    uint64_t id; /* of the request */
    enum order_kind work;
    struct child_limits limits;
    uint64_t part_bytes[ORDER_PARTS];
};

struct spawner {
    pid_t pid;
    int socket;
    pthread_mutex_t lock; /* protects next_id */
    uint64_t next_id;
};

/* State of the spawner's process. */
struct server {
    int socket, signals;
    struct running {
        uint64_t id;
        pid_t pid;
        int status_fd;
        uint64_t deadline_ns; /* 0: none */
    } children[CHILDREN_MOST];
    uint32_t count;
};

static void close_all(const int *fds, int count)
{
    for (int i = 0; i < count; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

/* Receives a packet and its descriptors, of which there are as many as its kind has; the others are
 * -1. False when the other end is closed. */
static bool receive(int socket, struct packet *out, int fds[REQUEST_FDS])
{
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(sizeof(int) * REQUEST_FDS)];
    } control;
    struct iovec piece = {out, sizeof *out};
    struct msghdr message = {.msg_iov = &piece,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    ssize_t size;
    for (int i = 0; i < REQUEST_FDS; i++)
        fds[i] = -1;
    do
        size = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    while (size < 0 && errno == EINTR);
    struct cmsghdr *head = size > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    if (head && head->cmsg_type == SCM_RIGHTS && head->cmsg_len >= CMSG_LEN(sizeof(int)))
        memcpy(fds, CMSG_DATA(head),
               head->cmsg_len - CMSG_LEN(0) < sizeof(int) * REQUEST_FDS
                   ? head->cmsg_len - CMSG_LEN(0)
                   : sizeof(int) * REQUEST_FDS);
    if (size > 0 && size != (ssize_t)sizeof *out)
        out->kind = 0;
    return size > 0;
}

struct ordered {
    const struct packet *packet;
    const char *parts; /* NULL: mapping failed */
};

/* Maps the parts; NULL when the file is smaller than the packet says, or there is no memory. */
static const char *map_parts(const struct packet *packet, int memory)
{
    size_t total = 0;
    off_t size = lseek(memory, 0, SEEK_END);
    for (int i = 0; i < ORDER_PARTS; i++)
        if (!checked_add_size(total, packet->part_bytes[i], &total))
            return NULL;
    if (size < 0 || (size_t)size < total)
        return NULL;
    if (total == 0)
        return "";
    void *map = mmap(NULL, total, PROT_READ, MAP_PRIVATE, memory, 0);
    return map == MAP_FAILED ? NULL : map;
}

/* Runs the work, in the child. */
static bool do_ordered(void *context, struct arena *arena, struct child_answer *out,
                       struct error *err)
{
    const struct ordered *ordered = context;
    const struct packet *packet = ordered->packet;
    struct work_order work = {.kind = packet->work, .limits = packet->limits};
    const char *at = ordered->parts;
    if (!at)
        return fail(err, ERR_NOMEM, "no memory for what is to be done");
    for (int i = 0; i < ORDER_PARTS; i++) {
        work.parts[i] = (struct child_part){at, (size_t)packet->part_bytes[i]};
        at += packet->part_bytes[i];
    }
    return order_do(&work, arena, out, err);
}

static void answer_status(int fd, int status)
{
    file_write_all(fd, &status, sizeof status);
    close(fd);
}

static uint64_t overdue_ns(const struct child_limits *limits)
{
    return limits->timeout_ms > 0 ? clock_ns() + (limits->timeout_ms + GRACE_MS) * NS_PER_MS : 0;
}

static void start(struct server *server, const struct packet *packet, int fds[REQUEST_FDS])
{
    struct ordered ordered = {.packet = packet};
    pid_t self = getpid();
    if (server->count == CHILDREN_MOST) {
        close_all(fds, REQUEST_FDS); /* the owner reports a missing status */
        return;
    }
    pid_t pid = fork();
    if (pid == 0) {
        close(server->socket);
        close(server->signals);
        for (uint32_t i = 0; i < server->count; i++)
            close(server->children[i].status_fd);
        close(fds[2]);
        ordered.parts = map_parts(packet, fds[0]); /* must be done here: the child closes its
                                                      descriptors */
        child_serve(fds[1], self, do_ordered, &ordered, &packet->limits);
    }
    close(fds[0]);
    close(fds[1]);
    if (pid < 0)
        close(fds[2]);
    else
        server->children[server->count++] =
            (struct running){packet->id, pid, fds[2], overdue_ns(&packet->limits)};
}

/* Kills the children of a request that is over; id 0: those past their deadline. */
static void end_children(const struct server *server, uint64_t id)
{
    for (uint32_t i = 0; i < server->count; i++) {
        const struct running *child = &server->children[i];
        if (id > 0 ? child->id == id : child->deadline_ns > 0 && clock_ns() >= child->deadline_ns)
            child_kill(child->pid);
    }
}

/* Before an ended child is reaped its process group is killed, since afterwards its number may be
 * reused.
 */
static void reap(struct server *server)
{
    siginfo_t info = {.si_pid = 0};
    while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid > 0) {
        int status = 0;
        uint32_t i = 0;
        while (i < server->count && server->children[i].pid != info.si_pid)
            i++;
        if (i < server->count)
            child_kill(info.si_pid);
        waitpid(info.si_pid, &status, 0);
        if (i < server->count) {
            answer_status(server->children[i].status_fd, status);
            server->children[i] = server->children[--server->count];
        }
        info.si_pid = 0;
    }
}

/* Runs the compiler's first steps, which each child would otherwise repeat; their tables stay in
 * memory. */
static void warm_up(void)
{
    static const char text[] =
        "{\"nodes\":[{\"id\":\"x\",\"op_type\":\"input\",\"attributes\":{\"shape\":[4,4]}},"
        "{\"id\":\"y\",\"op_type\":\"activation\",\"attributes\":{\"type\":\"relu\"}},"
        "{\"id\":\"z\",\"op_type\":\"output\",\"attributes\":{}}],"
        "\"edges\":[{\"source\":\"x\",\"target\":\"y\"},{\"source\":\"y\",\"target\":\"z\"}]}";
    const struct compile_options options = {.strategy = STRATEGY_FAST};
    struct compile_result result;
    struct arena arena;
    struct error err;
    arena_init(&arena);
    compile_in_child();
    compile_blueprint(text, sizeof text - 1, &options, &arena, &result, &err);
    arena_release(&arena);
}

/* Handles one packet; false when the spawner should end. */
static bool serve_one(struct server *server)
{
    struct packet packet;
    int handed[REQUEST_FDS];
    if (!receive(server->socket, &packet, handed) || packet.kind == PACKET_STOP)
        return false;
    if (packet.kind == PACKET_WORK && handed[2] >= 0)
        start(server, &packet, handed);
    else
        close_all(handed, REQUEST_FDS);
    if (packet.kind == PACKET_OVER && packet.id > 0)
        end_children(server, packet.id);
    return true;
}

static void *serve(void *context)
{
    static struct server server;
    const pid_t owner = *(const pid_t *)context;
    sigset_t chld;
    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    server.socket = 3;
    server.signals = signalfd(-1, &chld, SFD_CLOEXEC | SFD_NONBLOCK);
    warm_up();
    for (;;) {
        struct pollfd fds[2] = {{.fd = server.socket, .events = POLLIN},
                                {.fd = server.signals, .events = POLLIN}};
        struct signalfd_siginfo info;
        if ((poll(fds, 2, LOOK_MS) < 0 && errno != EINTR) || getppid() != owner)
            break;
        while (read(server.signals, &info, sizeof info) == (ssize_t)sizeof info)
            ;
        reap(&server);
        end_children(&server, 0);
        if (fds[0].revents != 0 && !serve_one(&server))
            break;
    }
    for (uint32_t i = 0; i < server.count; i++)
        child_kill(server.children[i].pid);
    _exit(0);
}

/* Runs on a stack of its own, which its children inherit: the stack of the thread that opened the
 * compiler may be small. */
URZA_NORETURN static void become_spawner(int socket, pid_t owner)
{
    sigset_t chld;
    pthread_attr_t attributes;
    pthread_t thread;
    child_defaults();
    setpgid(0, 0); /* so that an interrupt from the terminal goes to the owner only */
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    prctl(PR_SET_NAME, "urza-spawner");
    if (socket != 3)
        dup2(socket, 3);
    syscall(SYS_close_range, 4, ~0u, 0);
    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    sigprocmask(SIG_BLOCK, &chld, NULL);
    if (pthread_attr_init(&attributes) == 0 &&
        pthread_attr_setstacksize(&attributes, STACK_BYTES) == 0 &&
        pthread_create(&thread, &attributes, serve, &owner) == 0)
        pthread_join(thread, NULL); /* the thread ends the process */
    serve(&owner);
    _exit(1);
}

struct spawner *spawner_start(struct error *err)
{
    int pair[2];
    struct spawner *spawner = malloc(sizeof *spawner);
    if (!spawner) {
        fail(err, ERR_NOMEM, "no memory for a spawner");
        return NULL;
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
        fail(err, ERR_IO, "cannot make a socket: %s", strerror(errno));
        free(spawner);
        return NULL;
    }
    pid_t owner = getpid(), pid = fork();
    if (pid == 0) {
        close(pair[0]);
        become_spawner(pair[1], owner);
    }
    close(pair[1]);
    if (pid < 0) {
        fail(err, ERR_NOMEM, "cannot start a process: %s", strerror(errno));
        close(pair[0]);
        free(spawner);
        return NULL;
    }
    *spawner = (struct spawner){.pid = pid, .socket = pair[0]};
    pthread_mutex_init(&spawner->lock, NULL);
    return spawner;
}

bool spawner_alive(const struct spawner *spawner)
{
    return !child_ended(spawner->pid);
}

/* Does not block: EAGAIN when the spawner does not read. */
static bool send_packet(const struct spawner *spawner, const struct packet *packet, const int *fds,
                        int count)
{
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(sizeof(int) * REQUEST_FDS)];
    } control = {0};
    struct iovec piece = {(void *)(uintptr_t)packet, sizeof *packet};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    if (count > 0) {
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)count);
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)count);
        memcpy(CMSG_DATA(head), fds, sizeof(int) * (size_t)count);
    }
    ssize_t sent;
    do
        sent = sendmsg(spawner->socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    return sent == (ssize_t)sizeof *packet;
}

void spawner_stop(struct spawner *spawner)
{
    const struct packet packet = {.kind = PACKET_STOP};
    uint64_t begin_ns = clock_ns();
    if (!spawner)
        return;
    send_packet(spawner, &packet, NULL, 0);
    close(spawner->socket);
    while (!child_ended(spawner->pid) && clock_ns() - begin_ns < GRACE_MS * NS_PER_MS)
        usleep(500);
    kill(spawner->pid, SIGKILL); /* it may be stopped; its children die with it */
    while (waitpid(spawner->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    pthread_mutex_destroy(&spawner->lock);
    free(spawner);
}

/* Makes a memory file with the parts one after the other; -1 after failing *err. */
static int put_parts(const struct work_order *work, struct packet *packet, struct error *err)
{
    int memory = memfd_create("urza-work", MFD_CLOEXEC);
    bool ok = memory >= 0;
    for (int i = 0; i < ORDER_PARTS; i++) {
        packet->part_bytes[i] = work->parts[i].size_bytes;
        ok = ok && (work->parts[i].size_bytes == 0 ||
                    file_write_quietly(memory, work->parts[i].data, work->parts[i].size_bytes));
    }
    if (ok)
        return memory;
    if (memory >= 0)
        close(memory);
    fail(err, ERR_NOMEM, "no memory for what is to be done: %s", strerror(errno));
    return -1;
}

/* The owner's view of a running request. */
struct request {
    const struct spawner *spawner;
    struct packet packet;
    struct child_source source;
    int status_fd;
    bool ended, known; /* ended: the child, or the spawner and so the child; known: status is valid
                        */
    int status;
};

static bool has_ended(void *context)
{
    struct request *r = context;
    struct pollfd p = {.fd = r->status_fd, .events = POLLIN};
    if (!r->ended && poll(&p, 1, 0) > 0) {
        r->ended = true;
        r->known = read(r->status_fd, &r->status, sizeof r->status) == (ssize_t)sizeof r->status;
    } else if (!r->ended) {
        r->ended = child_ended(r->spawner->pid);
    }
    return r->ended;
}

static bool is_cancelled(const struct request *r)
{
    return r->source.cancelled && atomic_load(r->source.cancelled);
}

static bool is_late(const struct request *r)
{
    return r->source.deadline_ns > 0 && clock_ns() >= r->source.deadline_ns;
}

/* Finds how the child ended that gave no complete answer, or why the order could not be sent. */
static struct child_exit find_end(struct request *r, struct error *err)
{
    const struct child_exit failed = {CHILD_FAILED, 0};
    while (!is_cancelled(r) && !is_late(r) && !has_ended(r))
        usleep(200);
    if (is_cancelled(r)) {
        fail(err, ERR_CANCELLED, "cancelled");
        return failed;
    }
    if (r->known)
        return child_exit_of(r->status);
    if (!r->ended)
        return (struct child_exit){CHILD_TIMED_OUT, 0};
    fail(err, ERR_COMPILER_DIED, "no process could be started for the work, or its parent died");
    return failed;
}

/* Sends the order and receives the answer. Closes the `handed` descriptors. */
static struct child_exit ask(struct request *r, int handed[REQUEST_FDS], struct arena *arena,
                             struct child_answer *out, struct error *err)
{
    const struct packet over = {.kind = PACKET_OVER, .id = r->packet.id};
    bool sent;
    while (!(sent = send_packet(r->spawner, &r->packet, handed, REQUEST_FDS)) && errno == EAGAIN &&
           !is_cancelled(r) && !is_late(r))
        usleep(1000);
    close_all(handed, REQUEST_FDS);
    if (!sent && errno != EAGAIN) {
        fail(err, ERR_COMPILER_DIED, "the process that starts compilers is gone");
        return (struct child_exit){CHILD_FAILED, 0};
    }
    struct child_exit end = {CHILD_NONE, 0};
    if (sent)
        end.end = child_receive(&r->source, &r->packet.limits, arena, out, err);
    if (end.end == CHILD_NONE)
        end = find_end(r, err);
    if (sent && !r->known)
        send_packet(r->spawner, &over, NULL, 0);
    return end;
}

struct child_exit spawner_run(struct spawner *spawner, const struct work_order *work,
                              const atomic_bool *cancelled, struct arena *arena,
                              struct child_answer *out_answer, struct error *err)
{
    struct child_exit end = {CHILD_FAILED, 0};
    struct request request;
    int answer[2], status[2];
    uint32_t timeout_ms = work->limits.timeout_ms;
    memset(&request, 0, sizeof request); /* so that no padding with data of this process is sent */
    request.spawner = spawner;
    request.packet.kind = PACKET_WORK;
    request.packet.work = work->kind;
    request.packet.limits = work->limits;
    pthread_mutex_lock(&spawner->lock);
    request.packet.id = ++spawner->next_id;
    pthread_mutex_unlock(&spawner->lock);
    int memory = put_parts(work, &request.packet, err);
    if (memory < 0)
        return end;
    if (pipe2(answer, O_CLOEXEC) != 0) {
        close(memory);
        fail(err, ERR_IO, "cannot make a pipe: %s", strerror(errno));
        return end;
    }
    if (pipe2(status, O_CLOEXEC) != 0) {
        close_all((int[]){memory, answer[0], answer[1]}, 3);
        fail(err, ERR_IO, "cannot make a pipe: %s", strerror(errno));
        return end;
    }
    request.status_fd = status[0];
    request.source = (struct child_source){
        .fd = answer[0],
        .deadline_ns = timeout_ms > 0 ? clock_ns() + timeout_ms * NS_PER_MS : 0,
        .cancelled = cancelled,
        .ended = has_ended,
        .context = &request};
    end = ask(&request, (int[]){memory, answer[1], status[1]}, arena, out_answer, err);
    close_all((int[]){answer[0], status[0]}, 2);
    return end;
}
