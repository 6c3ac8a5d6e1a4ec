// Package image turns an address on the web into a disk a VM can boot: fetch,
// inspect, keep, overlay.
package image
