package api

import (
	"net/http"
	"strconv"
	"time"

	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/userdata"
	"github.com/cpucloud/cpucloud/internal/vm"
)

var reinstallVM = vmVerb("reinstall", "reinstallVM", "Give a VM a new disk",
	"It keeps its id, address, ports and price; its guest boots as a new machine. The image is fetched and checked first: when it can't be had the operation "+
		"fails and the VM goes on as it is. Then its guest is asked to power itself off, and the VM starts on the new disk. The disk that it had is kept, and holds storage "+
		"that is paid for, until the time that GET /v1/vms/{id}/disks tells; POST /v1/vms/{id}/disks/{number}/return brings it back. At most three are kept. "+
		"What is left out of the body stays as it was: without `image` the new disk is made of the very bytes that the last one was made of; with it, of what is there now.").
	with(`{"image": "https://cloud-images.ubuntu.com/releases/24.04/release/ubuntu-24.04-server-cloudimg-amd64.img", "sshKeys": ["laptop"]}`)

type reinstallRequest struct {
	Image         *string  `json:"image,omitempty" doc:"URL of the image."`
	ImageChecksum *string  `json:"imageChecksum,omitempty" doc:"That the image has to have as it is downloaded; empty for whatever is there." example:"sha256:0d3c5a0f4f1b2c6d7e8f9a0b1c2d3e4f5a6b7c8d9e0f1a2b3c4d5e6f7a8b9c0d"`
	SSHKeys       []string `json:"sshKeys,omitempty" maxItems:"64" doc:"Each a public key line, or the name or fingerprint of a registered key."`
	UserData      *string  `json:"userData,omitempty" maxLength:"16384" doc:"What cloud-init does at the first boot; empty for nothing. It is not answered again."`
}

func (a *api) reinstallVM(c *call, in reinstallRequest) (Operation, error) {
	o, err := a.control.Reinstall(c.Context(), c.who, c.PathValue("id"), control.Renewal{
		Image: in.Image, ImageChecksum: in.ImageChecksum, SSHKeys: in.SSHKeys, UserData: (*userdata.Text)(in.UserData),
	}, c.Header.Get("Idempotency-Key"))
	return operationOf(o), err
}

var rescueVM = vmVerb("rescue", "rescueVM", "Have a VM run a rescue image",
	"It boots a rescue image on a disk of that image's own, with its own disk as the second one, writable and not mounted. Only the SSH key that is given logs in. Address, "+
		"ports and price stay. POST /v1/vms/{id}/unrescue goes back. An image that differs from the VM's own boots most surely: two disks of one image have the same names.").
	with(`{"sshKey": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGx1bmdmaXNobHVuZ2Zpc2hsdW5nZmlzaGx1bmdmaXNo once"}`)

type rescueRequest struct {
	Key           string `json:"sshKey" doc:"One public key line, for this rescue alone."`
	Image         string `json:"image,omitempty" doc:"URL of the rescue image, of at most 10 GiB; the server has one of its own."`
	ImageChecksum string `json:"imageChecksum,omitempty" doc:"That the image has to have as it is downloaded."`
}

func (a *api) rescueVM(c *call, in rescueRequest) (Operation, error) {
	if in.Key == "" {
		return Operation{}, missing("sshKey")
	}
	o, err := a.control.Rescue(c.Context(), c.who, c.PathValue("id"),
		control.RescueWish{Image: in.Image, ImageChecksum: in.ImageChecksum, Key: in.Key}, c.Header.Get("Idempotency-Key"))
	return operationOf(o), err
}

var unrescueVM = vmVerb("unrescue", "unrescueVM", "Have a VM run on its own disk again",
	"The rescue system is asked to power itself off, its disk is purged, and the VM starts on its own disk, as that was left.")

func (a *api) unrescueVM(c *call, _ none) (Operation, error) {
	o, err := a.control.Unrescue(c.Context(), c.who, c.PathValue("id"), c.Header.Get("Idempotency-Key"))
	return operationOf(o), err
}

var listDisks = operation{
	method: http.MethodGet, path: "/v1/vms/{id}/disks", id: "listDisks", tag: "Virtual machines",
	summary: "List the disks of a VM",
	text:    "The one that it has, and those that it had and that are kept.",
	response: `[{"number": 0, "current": false, "image": "https://cloud.debian.org/images/cloud/bookworm/latest/debian-12-genericcloud-amd64.qcow2", "sizeGiB": 25,
		"since": "2026-01-31T12:00:00Z", "keptUntil": "2026-02-01T12:00:30Z", "purging": false},
	{"number": 4, "current": true, "image": "https://cloud.debian.org/images/cloud/trixie/latest/debian-13-genericcloud-amd64.qcow2", "sizeGiB": 25,
		"since": null, "keptUntil": null, "purging": false}]`,
	refusals: map[int]string{http.StatusNotFound: `no VM with id "` + exampleID + `"`},
}

// Disk is one of a VM's disks.
type Disk struct {
	Number  int64      `json:"number" doc:"Names it among those of the VM, for ever."`
	Current bool       `json:"current" doc:"It is the one that the VM has."`
	Image   *string    `json:"image" nullable:"true" doc:"That it was made of, as it was given; null where that isn't known."`
	SizeGiB int64      `json:"sizeGiB"`
	Since   *time.Time `json:"since" nullable:"true" doc:"When the VM was asked to run on another one; null for the current one."`
	Until   *time.Time `json:"keptUntil" nullable:"true" doc:"When it is purged; null for the current one, and as long as the VM may still run on it."`
	Purging bool       `json:"purging" doc:"It is about to be purged and can't be had back."`
}

func (a *api) listDisks(c *call, _ none) ([]Disk, error) {
	v, kept, err := a.control.Disks(c.Context(), c.who, c.PathValue("id"))
	if err != nil {
		return nil, err
	}
	out := []Disk{}
	for _, d := range kept {
		out = append(out, Disk{
			Number: d.Number, Image: nonempty(d.Image), SizeGiB: d.GiB, Since: moment(d.Since), Until: moment(d.Until), Purging: d.Purging,
		})
	}
	return append(out, Disk{Number: v.Disk, Current: true, Image: nonempty(v.Spec.Image), SizeGiB: v.Spec.StorageGiB}), nil
}

// nonempty returns a text, nil for an empty one.
func nonempty(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

var returnDisk = vmVerb("disks/{number}/return", "returnDisk", "Give a VM a disk back",
	"The VM starts on the disk that it had, as that was left, with the image and the SSH keys of then; its guest is asked to power itself off before. The disk that it has is kept then.")

func (a *api) returnDisk(c *call, _ none) (Operation, error) {
	number, err := c.disk()
	if err != nil {
		return Operation{}, err
	}
	o, err := a.control.Return(c.Context(), c.who, c.PathValue("id"), number, c.Header.Get("Idempotency-Key"))
	return operationOf(o), err
}

var purgeDisk = operation{
	method: http.MethodDelete, path: "/v1/vms/{id}/disks/{number}", id: "purgeDisk", tag: "Virtual machines", status: http.StatusNoContent,
	summary: "Purge a disk of a VM that is kept",
	text:    "It can't be had back. The storage that it holds is free, and paid for no more, once its server has purged it. It may be repeated.",
	refusals: map[int]string{
		http.StatusNotFound: "no disk 4 of VM web-1 is kept",
		http.StatusConflict: "the VM may still run on disk 4; wait until it runs on the one that was asked for",
	},
}

func (a *api) purgeDisk(c *call, _ none) (none, error) {
	number, err := c.disk()
	if err != nil {
		return none{}, err
	}
	return none{}, a.control.PurgeDisk(c.Context(), c.who, c.PathValue("id"), number)
}

// disk returns the number of a disk out of the path.
func (c *call) disk() (int64, error) {
	n, err := strconv.ParseInt(c.PathValue("number"), 10, 64)
	if err != nil {
		return 0, fault.Newf(fault.NotFound, "no disk %.40q", c.PathValue("number"))
	}
	return n, nil
}

// ownDisk names the disk that a VM has.
type ownDisk struct {
	Number int64      `json:"number"`
	Since  *time.Time `json:"since" nullable:"true" doc:"When it last came to run on another disk than before; null for never."`
}

// rescue is what a VM runs in the place of its own disk.
type rescue struct {
	Since time.Time `json:"since"`
	Image string    `json:"image"`
}

func rescueOf(r *vm.RescueSystem) *rescue {
	if r == nil {
		return nil
	}
	return &rescue{Since: r.Since.UTC(), Image: r.Image}
}

// diskRoutes are what customers can do to the disks of their VMs.
func (a *api) diskRoutes() {
	handle(a, reinstallVM, a.reinstallVM)
	handle(a, rescueVM, a.rescueVM)
	handle(a, unrescueVM, a.unrescueVM)
	handle(a, listDisks, a.listDisks)
	handle(a, returnDisk, a.returnDisk)
	handle(a, purgeDisk, a.purgeDisk)
}
