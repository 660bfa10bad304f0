/* The floor of what sampling can cost: preads the files named on stdin, all kept open.
   Usage: pread ROUNDS < PATHS.  Prints the median of a round in microseconds: CPU, then wall. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static double now_us(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    static char path[4096], text[8192];
    int rounds = argc > 1 ? atoi(argv[1]) : 21, count = 0, room = 0, *fds = NULL;
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    while (fgets(path, sizeof path, stdin)) {
        path[strcspn(path, "\n")] = 0;
        if (count == room && !(fds = realloc(fds, (room = room * 2 + 64) * sizeof *fds)))
            return 1;
        if ((fds[count++] = open(path, O_RDONLY)) < 0)
            return perror(path), 1;
    }
    double *cpu = calloc(rounds, sizeof *cpu), *wall = calloc(rounds, sizeof *wall);
    for (int round = -1; round < rounds; round++) { /* the first one only warms up */
        double cpu_us = now_us(CLOCK_PROCESS_CPUTIME_ID), wall_us = now_us(CLOCK_MONOTONIC);
        for (int i = 0; i < count; i++)
            if (pread(fds[i], text, sizeof text, 0) < 0)
                return perror("pread"), 1;
        if (round < 0)
            continue;
        cpu[round] = now_us(CLOCK_PROCESS_CPUTIME_ID) - cpu_us;
        wall[round] = now_us(CLOCK_MONOTONIC) - wall_us;
    }
    qsort(cpu, rounds, sizeof *cpu, ascending);
    qsort(wall, rounds, sizeof *wall, ascending);
    printf("%.1f %.1f\n", cpu[rounds / 2], wall[rounds / 2]);
    return 0;
}
