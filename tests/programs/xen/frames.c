/* A guest's raw socket.
 *   frames send HEX...             each a whole Ethernet frame, as it stands
 *   frames hear SECONDS WORD...    which of the words arrive within frames on eth0; SIGTERM ends it early
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <net/if.h>
#include <netpacket/packet.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t over;

static void stop(int number) {
    (void)number;
    over = 1;
}

static int open_nic(void) {
    int nic = socket(AF_PACKET, SOCK_RAW, htons(0x0003));
    struct sockaddr_ll at = {.sll_family = AF_PACKET, .sll_protocol = htons(0x0003),
                             .sll_ifindex = if_nametoindex("eth0")};
    struct packet_mreq all = {.mr_ifindex = at.sll_ifindex, .mr_type = PACKET_MR_PROMISC};
    if (nic < 0 || bind(nic, (struct sockaddr *)&at, sizeof at)) {
        perror("eth0");
        exit(1);
    }
    setsockopt(nic, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &all, sizeof all);
    return nic;
}

static int send_all(int nic, int count, char **frames) {
    for (int i = 0; i < count; i++) {
        unsigned char frame[2048];
        size_t length = strlen(frames[i]) / 2;
        for (size_t at = 0; at < length && at < sizeof frame; at++)
            sscanf(frames[i] + 2 * at, "%2hhx", &frame[at]);
        if (send(nic, frame, length, 0) < 0)
            perror("send");
        usleep(2000);
    }
    printf("SENT %d\n", count);
    return 0;
}

static int hear(int nic, int seconds, int count, char **words) {
    struct timespec now, end;
    int heard[64] = {0};
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += seconds;
    signal(SIGTERM, stop);
    printf("LISTENING\n");
    fflush(stdout);
    while (!over) {
        struct pollfd one = {.fd = nic, .events = POLLIN};
        unsigned char frame[4096];
        struct sockaddr_ll from;
        socklen_t size = sizeof from;
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec > end.tv_sec)
            break;
        if (poll(&one, 1, 200) <= 0)
            continue;
        ssize_t length = recvfrom(nic, frame, sizeof frame, 0, (struct sockaddr *)&from, &size);
        for (int i = 0; i < count && i < 64 && length > 0 && from.sll_pkttype != PACKET_OUTGOING; i++)
            heard[i] += memmem(frame, length, words[i], strlen(words[i])) != NULL;
    }
    for (int i = 0; i < count && i < 64; i++)
        printf("HEARD %s %d\n", words[i], heard[i]);
    return 0;
}

int main(int argc, char **argv) {
    if (argc > 2 && !strcmp(argv[1], "send"))
        return send_all(open_nic(), argc - 2, argv + 2);
    if (argc > 3 && !strcmp(argv[1], "hear"))
        return hear(open_nic(), atoi(argv[2]), argc - 3, argv + 3);
    return 2;
}
