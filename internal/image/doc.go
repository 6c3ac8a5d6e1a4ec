// Package image turns an address on the web into a disk a VM can boot: fetch,
// inspect, keep, overlay.
//
// A Cache fetches each address once (guard decides which servers it may talk
// to), decompresses it within limits (unpack), turns qcow2 images into raw
// disks with code of its own (qcow2) and keeps them by digest. Overlay makes
// the disk of one VM on top, and Clone one that needs it no more; seed makes the disk that tells it who it is.
package image
