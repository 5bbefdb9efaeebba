/*
 * timed FILE PROGRAM ARG... : runs PROGRAM and writes what it took to FILE, as
 * "wall user sys maxrss exit": seconds three times, KiB, and the exit code (128 + N for signal N).
 * User and system time are those of the whole tree, as far as it was waited for; maxrss is that of
 * its largest process. Written in C because the peak of a process counts from before its exec: a
 * large parent would show in every figure (see getrusage(2), and exec_mmap in the kernel's fs/exec.c).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static double seconds(struct timeval t) { return t.tv_sec + t.tv_usec / 1e6; }

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: timed FILE PROGRAM ARG...\n");
        return 2;
    }
    pid_t pid;
    double start = now();
    int error = posix_spawnp(&pid, argv[2], NULL, NULL, argv + 2, environ);
    if (error != 0) {
        fprintf(stderr, "timed: %s: %s\n", argv[2], strerror(error));
        return 127;
    }
    int status;
    struct rusage used;
    while (wait4(pid, &status, 0, &used) < 0) {
        if (errno != EINTR) {
            perror("timed: wait4");
            return 127;
        }
    }
    double wall = now() - start;
    FILE *out = fopen(argv[1], "w");
    if (out == NULL) {
        perror(argv[1]);
        return 127;
    }
    fprintf(out, "%.6f %.6f %.6f %ld %d\n", wall, seconds(used.ru_utime), seconds(used.ru_stime),
            used.ru_maxrss, WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    return fclose(out) == 0 ? 0 : 127;
}
