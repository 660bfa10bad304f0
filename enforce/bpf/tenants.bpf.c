// SPDX-License-Identifier: Apache-2.0
/*
 * Tells the kernel whose packets are whose: one set of programs for all tenants of a host.
 *
 * A tenant is the cgroup at depth `tenant_level`; its id is the inode number of its directory.
 * Nothing here drops, delays or rewrites a packet: programs set skb->priority, which chooses an HTB
 * class, count, and note whose a socket is.  No GPL-only helper is used.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define MOST_TENANTS 65536
#define MOST_LINKS 4096
#define MOST_ADDRESSES 4096
#define MOST_FRAGMENTED 4096
#define MOST_EXTENSIONS 4 /* of IPv6, before TCP or UDP */
#define BY_MARK (~0ULL)	  /* in the place of a cgroup: packets tell it themselves, see mark_bridged */

struct tenant {
	__u32 classid;  /* of HTB, on every uplink and its ifb; 0: leave the packet alone.  To stay the first:
			 * it is what another version takes over */
	__u32 is_apart; /* in a network namespace of its own, whose interface numbers mean nothing here */
};

struct counter_key {
	__u64 cgroup;
	__u32 ifindex;
	__u32 zero;
};

struct counter { /* bytes as on the wire, without preamble, checksum and gap */
	__u64 out_bytes, out_packets, in_bytes, in_packets;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MOST_TENANTS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct tenant);
} tenants SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4 * MOST_TENANTS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct counter_key);
	__type(value, struct counter);
} counters SEC(".maps");

struct { /* interfaces whose packets are counted and classified -> the uplink that these leave by */
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MOST_LINKS);
	__type(key, __u32);
	__type(value, __u32);
} uplinks SEC(".maps");

/* The host's end of a tenant's veth: interface -> cgroup; of what lies above one, as a bridge does: BY_MARK. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MOST_TENANTS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u64);
} veths SEC(".maps");

struct { /* of this host, IPv4 as ::ffff:0:0/96; the value says nothing */
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MOST_ADDRESSES);
	__type(key, struct in6_addr);
	__type(value, __u32);
} addresses SEC(".maps");

/* Each socket's tenant, which a packet that is not yet the socket's cannot be asked.  What is accepted
 * takes its listener's. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, __u64);
} owners SEC(".maps");

struct flow { /* one packet's fragments; addresses as in `addresses` */
	struct in6_addr from, to;
	__u32 id, protocol; /* of IPv4, where each protocol has its own */
};

struct { /* whose packet it is that has not come as a whole: cgroup, by what its fragments share */
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MOST_FRAGMENTED);
	__type(key, struct flow);
	__type(value, __u64);
} fragments SEC(".maps");

const volatile __u32 tenant_level = 1;
const volatile __u32 htb_major = 1, first_minor = 1; /* of tenants' classes, on every uplink */

/* The beginning of IPv6 extension headers: of all their length, of a fragment's where it belongs. */
struct extension {
	__u8 next, length;
	__be16 fragment;
};

/* Headers that each further segment of a large packet repeats, from the network layer on. */
static __always_inline __u32 repeated_headers(struct __sk_buff *skb)
{
	__u8 version = 0, protocol = 0, offset = 0;
	__u32 network = sizeof(struct ipv6hdr);

	if (bpf_skb_load_bytes(skb, 0, &version, 1) < 0)
		return 0;
	if (version >> 4 == 4) {
		network = (version & 15) * 4;
		bpf_skb_load_bytes(skb, offsetof(struct iphdr, protocol), &protocol, 1);
	} else {
		bpf_skb_load_bytes(skb, offsetof(struct ipv6hdr, nexthdr), &protocol, 1);
	}
	if (protocol != IPPROTO_TCP)
		return network + 8;
	/* The upper half of byte 12 of a TCP header is its length in words. */
	bpf_skb_load_bytes(skb, network + 12, &offset, 1);
	return network + (offset >> 4) * 4;
}

/* In a cgroup program the packet begins at its network header: the link's is added. */
static __always_inline __u64 wire_bytes(struct __sk_buff *skb, __u32 segments)
{
	__u64 bytes = skb->len + (__u64)segments * ETH_HLEN;

	if (segments > 1)
		bytes += (__u64)(segments - 1) * repeated_headers(skb);
	return bytes;
}

static __always_inline struct counter *counter_of(__u64 cgroup, __u32 ifindex)
{
	struct counter_key key = { .cgroup = cgroup, .ifindex = ifindex };
	struct counter none = {}, *found = bpf_map_lookup_elem(&counters, &key);

	if (found)
		return found;
	bpf_map_update_elem(&counters, &key, &none, BPF_NOEXIST);
	return bpf_map_lookup_elem(&counters, &key);
}

/* The tenant whose packet passes an uplink, its id, and the uplink; 0 where it is nobody's, or passes
 * none. */
static __always_inline struct tenant *tenant_on_uplink(struct __sk_buff *skb, __u64 *id,
						       __u32 *uplink)
{
	__u32 ifindex = skb->ifindex, *known;
	struct tenant *tenant;

	*id = bpf_skb_ancestor_cgroup_id(skb, tenant_level);
	tenant = bpf_map_lookup_elem(&tenants, id);
	known = bpf_map_lookup_elem(&uplinks, &ifindex);
	if (!tenant || tenant->is_apart || !known)
		return 0;
	*uplink = *known;
	return tenant;
}

/* When a socket is made its tenant cannot have filled what memory it may have for options. */
SEC("cgroup/sock_create")
int note_owner(struct bpf_sock *sk)
{
	__u64 id = bpf_get_current_ancestor_cgroup_id(tenant_level);

	bpf_sk_storage_get(&owners, sk, &id, BPF_SK_STORAGE_GET_F_CREATE);
	return 1;
}

/* Sockets that are older than these programs, or than the level that tenants are at. */
static __always_inline void note_older(struct __sk_buff *skb, __u64 id)
{
	struct bpf_sock *sk = skb->sk;
	__u64 *owner;

	if (!sk)
		return;
	owner = bpf_sk_storage_get(&owners, sk, &id, BPF_SK_STORAGE_GET_F_CREATE);
	if (owner && *owner != id)
		*owner = id;
}

SEC("cgroup_skb/egress")
int count_out(struct __sk_buff *skb)
{
	__u32 segments = skb->gso_segs ? skb->gso_segs : 1;
	__u32 uplink = 0;
	__u64 id;
	struct tenant *tenant = tenant_on_uplink(skb, &id, &uplink);
	struct counter *counter;

	if (!tenant)
		return 1;
	if (tenant->classid)
		skb->priority = tenant->classid;
	counter = counter_of(id, uplink);
	if (counter) {
		__sync_fetch_and_add(&counter->out_bytes, wire_bytes(skb, segments));
		__sync_fetch_and_add(&counter->out_packets, segments);
	}
	return 1;
}

SEC("cgroup_skb/ingress")
int count_in(struct __sk_buff *skb)
{
	__u32 segments = skb->gso_segs ? skb->gso_segs : 1;
	__u32 uplink = 0;
	__u64 id;
	struct counter *counter;

	if (!tenant_on_uplink(skb, &id, &uplink))
		return 1;
	note_older(skb, id);
	counter = counter_of(id, uplink);
	if (counter) {
		__sync_fetch_and_add(&counter->in_bytes, wire_bytes(skb, segments));
		__sync_fetch_and_add(&counter->in_packets, segments);
	}
	return 1;
}

/* The tenant whose veth is an interface, 0 where it is nobody's. */
static __always_inline struct tenant *tenant_behind(__u32 ifindex, int *is_by_mark)
{
	__u64 *id = ifindex ? bpf_map_lookup_elem(&veths, &ifindex) : 0;

	*is_by_mark = id && *id == BY_MARK;
	return id && !*is_by_mark ? bpf_map_lookup_elem(&tenants, id) : 0;
}

/* At a tenant's veth that is a port of a bridge, as its packets come in: what a bridge hands on to the
 * host itself, which may route them and translate their addresses, comes from the bridge by then.  Of
 * all that a packet carries this alone survives that and is nobody else's: routing resets its priority,
 * and marks are the firewall's. */
SEC("tc")
int mark_bridged(struct __sk_buff *skb)
{
	int is_by_mark;
	struct tenant *tenant = tenant_behind(skb->ifindex, &is_by_mark);

	skb->tc_index = tenant ? tenant->classid & 0xffff : 0;
	return TC_ACT_UNSPEC;
}

/* Forwarded packets have no socket any more, and routing resets their priority. */
SEC("tc")
int forwarded_out(struct __sk_buff *skb)
{
	int is_by_mark;
	struct tenant *tenant = tenant_behind(skb->ingress_ifindex, &is_by_mark);

	if (tenant && tenant->classid)
		skb->priority = tenant->classid;
	else if (is_by_mark && skb->tc_index >= first_minor)
		skb->priority = htb_major << 16 | skb->tc_index;
	return TC_ACT_UNSPEC;
}

/* What there is here of a packet: of a later fragment no ports. */
enum piece { WHOLE, FIRST, LATER };

/* Step over what lies between an IPv6 header and its TCP or UDP header; return 0 where there is none,
 * or it is in another fragment.  Not over a routing header: until its segments are through, the packet
 * goes on to elsewhere. */
static __always_inline __u32 after_extensions(struct __sk_buff *skb, __u32 offset, struct flow *flow,
					      __u8 *protocol, __u64 *piece)
{
#pragma unroll /* of a counter that is spilled the verifier knows nothing */
	for (int i = 0; i <= MOST_EXTENSIONS; i++) {
		struct extension header = {};

		if (*protocol == IPPROTO_TCP || *protocol == IPPROTO_UDP)
			return offset;
		if (*protocol != IPPROTO_HOPOPTS && *protocol != IPPROTO_DSTOPTS &&
		    *protocol != IPPROTO_FRAGMENT)
			return 0;
		if (bpf_skb_load_bytes(skb, offset, &header, sizeof(header)) < 0)
			return 0;
		if (*protocol == IPPROTO_FRAGMENT) {
			if (bpf_skb_load_bytes(skb, offset + sizeof(header), &flow->id,
					       sizeof(flow->id)) < 0)
				return 0;
			*piece = header.fragment & bpf_htons(0xfff8) ? LATER : FIRST;
			if (*piece == LATER)
				return 0;
			offset += 8;
		} else {
			offset += (header.length + 1) * 8;
		}
		*protocol = header.next;
	}
	return 0;
}

/* Fill `tuple` and `flow` from an IPv4 or IPv6 packet; return the tuple's size, 0 where there is
 * nothing to look up.  In packets and in tuples both addresses, and both ports, lie side by side:
 * helpers write them, since without CAP_PERFMON the verifier refuses stores of our own into what the
 * compiler has spilled. */
static __always_inline __u32 tuple_of(struct __sk_buff *skb, struct bpf_sock_tuple *tuple,
				      struct flow *flow, __u8 *protocol, __u64 *piece)
{
	__u32 offset = ETH_HLEN;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		__u8 length = 0;
		__be16 fragment = 0;

		if (bpf_skb_load_bytes(skb, offset, &length, sizeof(length)) < 0 ||
		    bpf_skb_load_bytes(skb, offset + offsetof(struct iphdr, id), &flow->id,
				       sizeof(__be16)) < 0 ||
		    bpf_skb_load_bytes(skb, offset + offsetof(struct iphdr, frag_off), &fragment,
				       sizeof(fragment)) < 0 ||
		    bpf_skb_load_bytes(skb, offset + offsetof(struct iphdr, protocol), protocol,
				       sizeof(*protocol)) < 0 ||
		    bpf_skb_load_bytes(skb, offset + offsetof(struct iphdr, saddr),
				       &flow->from.s6_addr[12], sizeof(__be32)) < 0 ||
		    bpf_skb_load_bytes(skb, offset + offsetof(struct iphdr, daddr),
				       &flow->to.s6_addr[12], sizeof(__be32)) < 0 ||
		    bpf_skb_load_bytes(skb, offset + offsetof(struct iphdr, saddr),
				       &tuple->ipv4.saddr, 2 * sizeof(__be32)) < 0)
			return 0;
		flow->to.s6_addr16[5] = 0xffff;
		flow->protocol = *protocol;
		if (fragment & bpf_htons(0x3fff))
			*piece = fragment & bpf_htons(0x1fff) ? LATER : FIRST;
		offset += (length & 15) * 4;
		if (*piece == LATER || bpf_skb_load_bytes(skb, offset, &tuple->ipv4.sport,
							  2 * sizeof(__be16)) < 0)
			return 0;
		return sizeof(tuple->ipv4);
	}
	if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		if (bpf_skb_load_bytes(skb, offset + offsetof(struct ipv6hdr, nexthdr), protocol,
				       sizeof(*protocol)) < 0 ||
		    bpf_skb_load_bytes(skb, offset + offsetof(struct ipv6hdr, saddr), &flow->from,
				       2 * sizeof(struct in6_addr)) < 0 ||
		    bpf_skb_load_bytes(skb, offset + offsetof(struct ipv6hdr, saddr),
				       &tuple->ipv6.saddr, 2 * sizeof(struct in6_addr)) < 0)
			return 0;
		offset = after_extensions(skb, offset + sizeof(struct ipv6hdr), flow, protocol, piece);
		if (!offset || bpf_skb_load_bytes(skb, offset, &tuple->ipv6.sport,
						  2 * sizeof(__be16)) < 0)
			return 0;
		return sizeof(tuple->ipv6);
	}
	return 0;
}

/* Whose socket waits for a packet, 0 where it is nobody's.  A UDP socket without a peer is found by its
 * port alone, so there the destination must be this host's own.  A listener waits for handshakes only,
 * which are nobody's yet. */
static __always_inline __u64 owner_of(struct __sk_buff *skb, struct bpf_sock_tuple *tuple,
				      __u32 size, struct in6_addr *to, __u8 protocol)
{
	struct bpf_sock *sk = 0;
	__u64 *owner = 0, id = 0;

	/* The verifier no longer knows that it is one of the two, the compiler does. */
	asm volatile("" : "+r"(size));
	if (size != sizeof(tuple->ipv4))
		size = sizeof(tuple->ipv6);
	if (protocol == IPPROTO_TCP) {
		sk = bpf_skc_lookup_tcp(skb, tuple, size, BPF_F_CURRENT_NETNS, 0);
		if (!sk)
			return 0;
		if (sk->state != BPF_TCP_LISTEN)
			owner = bpf_sk_storage_get(&owners, sk, 0, 0);
	} else if (protocol == IPPROTO_UDP) {
		sk = bpf_sk_lookup_udp(skb, tuple, size, BPF_F_CURRENT_NETNS, 0);
		if (!sk)
			return 0;
		if (sk->state == BPF_TCP_ESTABLISHED /* of UDP: connected */ ||
		    bpf_map_lookup_elem(&addresses, to))
			owner = bpf_sk_storage_get(&owners, sk, 0, 0);
	} else {
		return 0;
	}
	if (owner)
		id = *owner;
	bpf_sk_release(sk);
	return id;
}

/* Whose a packet that is addressed to this host will be: a cgroup, 0 where it is nobody's.  The packet
 * itself gets no socket: whether it is forwarded is not yet known, and with one it would be dropped
 * there.  On a port of a bridge what is for this host bears the bridge's hardware address, and so seems
 * to be another's.  A multicast is for all who wait for it.  Later fragments go where the first went. */
static __always_inline __u64 receiver_of(struct __sk_buff *skb)
{
	struct bpf_sock_tuple tuple = {};
	struct flow flow = {};
	__u64 piece = WHOLE;
	__u8 protocol = 0;
	__u32 size;
	__u64 *known, id;

	if (skb->pkt_type != PACKET_HOST && skb->pkt_type != PACKET_OTHERHOST)
		return 0;
	size = tuple_of(skb, &tuple, &flow, &protocol, &piece);
	if (piece == LATER) {
		known = bpf_map_lookup_elem(&fragments, &flow);
		return known ? *known : 0;
	}
	if (!size)
		return 0;
	id = owner_of(skb, &tuple, size, &flow.to, protocol);
	if (piece == FIRST && id)
		bpf_map_update_elem(&fragments, &flow, &id, BPF_ANY);
	else if (piece == FIRST)
		bpf_map_delete_elem(&fragments, &flow);
	return id;
}

/* -1 is a match, whose action redirects to the ifb; 0 leaves a packet alone.  So whatever becomes of
 * the ifb, the host's own packets never depend on it. */
SEC("tc")
int classify_in(struct __sk_buff *skb)
{
	__u64 id = receiver_of(skb);
	struct tenant *tenant = id ? bpf_map_lookup_elem(&tenants, &id) : 0;

	if (!tenant || tenant->is_apart || !tenant->classid)
		return 0;
	skb->priority = tenant->classid;
	return -1;
}

char LICENSE[] SEC("license") = "Apache-2.0";
