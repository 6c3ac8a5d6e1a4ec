package server

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"path"
	"strings"
	"time"

	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// demoImage is the file name of the small OS image that `make image` builds.
const demoImage = "cpucloud-demo.qcow2"

// imageFolder serves the disk images of one folder at /images/ and nothing else.
// A nil one has none.
type imageFolder struct{ root *os.Root }

func openImages(folder string) (*imageFolder, error) {
	if folder == "" {
		return nil, nil
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, fault.Newf(fault.Invalid, "the image folder can't be opened: %v; build one with `make image`", err)
	}
	return &imageFolder{root: root}, nil
}

func (f *imageFolder) close() error {
	if f == nil {
		return nil
	}
	return f.root.Close()
}

func (f *imageFolder) has(name string) bool {
	if f == nil {
		return false
	}
	info, err := f.root.Stat(name)
	return err == nil && info.Mode().IsRegular()
}

// ServeHTTP serves an image with ranges.
func (f *imageFolder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/images/")
	if name != path.Base(name) || vm.CheckImage("http://host/"+name) != nil || !f.has(name) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprintln(w, `{"error":"no such image"}`)
		return
	}
	file, err := f.root.Open(name)
	if err != nil {
		http.Error(w, `{"error":"the image can't be read"}`, http.StatusInternalServerError)
		return
	}
	defer file.Close() //nolint:errcheck // it was only read
	info, err := file.Stat()
	if err != nil {
		http.Error(w, `{"error":"the image can't be read"}`, http.StatusInternalServerError)
		return
	}
	// An image may take longer than any other answer.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, name, info.ModTime(), file)
}

// rescueImage returns the URL of what VMs in rescue run: the demo image where there is one,
// which boots in seconds, and the older Debian otherwise.
func rescueImage(offered []control.Image) string {
	last := offered[len(offered)-1].URL
	if strings.HasSuffix(offered[0].URL, "/"+demoImage) {
		return offered[0].URL
	}
	return last
}

// listed is since when the default images have been offered.
var listed = time.Date(2026, time.November, 23, 0, 0, 0, 0, time.UTC)

// defaultImages returns the images that customers are offered by name: the demo
// image where this server has it, and the cloud images of Ubuntu and Debian.
func defaultImages(url string, demo bool) []control.Image {
	const ubuntu, debian = "https://cloud-images.ubuntu.com/releases/", "https://cloud.debian.org/images/cloud/"
	list := []control.Image{
		{
			Name: "24.04 (LTS) x64", Distribution: "Ubuntu", Slug: "ubuntu-24-04-x64", User: "ubuntu",
			URL: ubuntu + "24.04/release/ubuntu-24.04-server-cloudimg-amd64.img",
		},
		{
			Name: "22.04 (LTS) x64", Distribution: "Ubuntu", Slug: "ubuntu-22-04-x64", User: "ubuntu",
			URL: ubuntu + "22.04/release/ubuntu-22.04-server-cloudimg-amd64.img",
		},
		{
			Name: "13 (trixie) x64", Distribution: "Debian", Slug: "debian-13-x64", User: "debian",
			URL: debian + "trixie/latest/debian-13-genericcloud-amd64.qcow2",
		},
		{
			Name: "12 (bookworm) x64", Distribution: "Debian", Slug: "debian-12-x64", User: "debian",
			URL: debian + "bookworm/latest/debian-12-genericcloud-amd64.qcow2",
		},
	}
	if demo {
		list = append([]control.Image{{
			Name: "Demo x64", Distribution: "CPU Cloud", Slug: "cpucloud-demo", User: "root", URL: url + "/images/" + demoImage,
		}}, list...)
	}
	for i := range list {
		list[i].Listed = listed
		sum := sha256.Sum256([]byte(list[i].Slug))
		list[i].ID = hex.EncodeToString(sum[:16])
	}
	return list
}
