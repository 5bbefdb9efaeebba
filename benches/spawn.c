/*
 * spawn COUNT WIDTH [capture] : runs /bin/true COUNT times, at most WIDTH at once, by bare
 * posix_spawn and wait: the floor under every program that runs commands. With "capture" the stdout
 * and stderr of each go through pipes that are read to their end, one process at a time.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static void fail(const char *what, int error) {
    fprintf(stderr, "spawn: %s: %s\n", what, strerror(error));
    exit(1);
}

static void start(const posix_spawn_file_actions_t *actions) {
    char *argv[] = {"/bin/true", NULL};
    pid_t pid;
    int error = posix_spawn(&pid, argv[0], actions, NULL, argv, environ);
    if (error != 0) fail(argv[0], error);
}

static void wait_for_one(void) {
    int status;
    while (wait(&status) < 0) {
        if (errno != EINTR) fail("wait", errno);
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) fail("/bin/true failed", 0);
}

/* Reads both pipes to their ends, and throws away what comes. */
static void drain(int out, int err) {
    struct pollfd ends[] = {{.fd = out, .events = POLLIN}, {.fd = err, .events = POLLIN}};
    char chunk[65536];
    for (int open = 2; open > 0;) {
        if (poll(ends, 2, -1) < 0) {
            if (errno == EINTR) continue;
            fail("poll", errno);
        }
        for (int i = 0; i < 2; i++) {
            if (ends[i].fd < 0 || ends[i].revents == 0) continue;
            ssize_t count = read(ends[i].fd, chunk, sizeof chunk);
            if (count < 0 && errno != EINTR) fail("read", errno);
            if (count == 0) {
                close(ends[i].fd);
                ends[i].fd = -1;
                open--;
            }
        }
    }
}

static void run_captured(void) {
    int out[2], err[2];
    if (pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0) fail("pipe2", errno);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, err[1], STDERR_FILENO);
    start(&actions);
    posix_spawn_file_actions_destroy(&actions);
    close(out[1]);
    close(err[1]);
    drain(out[0], err[0]);
    wait_for_one();
}

int main(int argc, char **argv) {
    int count = argc > 1 ? atoi(argv[1]) : 0, width = argc > 2 ? atoi(argv[2]) : 0;
    int capture = argc == 4 && strcmp(argv[3], "capture") == 0;
    if (count < 1 || width < 1 || argc > 4 || (argc == 4 && !capture) || (capture && width != 1)) {
        fprintf(stderr, "usage: spawn COUNT WIDTH, or spawn COUNT 1 capture\n");
        return 2;
    }
    if (capture) {
        for (int i = 0; i < count; i++) run_captured();
        return 0;
    }
    int running = 0;
    for (int i = 0; i < count; i++) {
        if (running == width) {
            wait_for_one();
            running--;
        }
        start(NULL);
        running++;
    }
    for (; running > 0; running--) wait_for_one();
    return 0;
}
