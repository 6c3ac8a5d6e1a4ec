package qemu

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// spokenWords are what the probe's guest writes to the serial port.
const spokenWords = "cpucloud guest speaks"

// bootSector is the probe's guest: 16-bit code that the firmware loads to
// 0x7c00 and jumps to. It needs nothing but the serial port, and keeps the
// firmware from writing to that in between, which it does by timer.
//
//	00        cli
//	01        cld
//	02        xor  ax, ax
//	04        mov  ds, ax
//	06        mov  si, 0x7c23     ; the words
//	09 next:  lodsb
//	0a        test al, al
//	0c        jz   done
//	0e        mov  ah, al
//	10        mov  dx, 0x3fd      ; the first serial port's line status
//	13 wait:  in   al, dx
//	14        test al, 0x20       ; ready for another byte
//	16        jz   wait
//	18        mov  al, ah
//	1a        mov  dx, 0x3f8      ; its data
//	1d        out  dx, al
//	1e        jmp  next
//	20 done:  hlt
//	21        jmp  done
//	23        words, 0
func bootSector() []byte {
	code := []byte{
		0xfa, 0xfc, 0x31, 0xc0, 0x8e, 0xd8, 0xbe, 0x23, 0x7c,
		0xac, 0x84, 0xc0, 0x74, 0x12, 0x88, 0xc4,
		0xba, 0xfd, 0x03, 0xec, 0xa8, 0x20, 0x74, 0xfb,
		0x88, 0xe0, 0xba, 0xf8, 0x03, 0xee, 0xeb, 0xe9,
		0xf4, 0xeb, 0xfd,
	}
	sector := make([]byte, 512)
	copy(sector[copy(sector, code):], spokenWords)
	sector[510], sector[511] = 0x55, 0xaa
	return sector
}

// bootDisk returns a disk in memory that holds the boot sector.
func bootDisk() (*os.File, error) {
	fd, err := unix.MemfdCreate("probe", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "probe")
	const size = 1 << 20 // the firmware doesn't read from a disk of one sector
	_, err = f.Write(bootSector())
	if err = errors.Join(err, f.Truncate(size)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// probeLine returns QEMU's arguments for the probe's guest, whose disk is
// file 3 and whose serial port is standard output.
func probeLine(accel Accelerator) []string {
	a := board(accel, 1, "128M")
	a.add("-no-reboot", "-chardev", "stdio,id=serial,signal=off", "-serial", "chardev:serial", "-add-fd", "fd=3,set=3")
	a.json("-blockdev", fileNode{"file", "file3", "/dev/fdset/3", false, "ignore"})
	a.json("-blockdev", formatNode{Driver: "raw", Name: "disk3", File: "file3", Discard: "ignore"})
	a.json("-device", blockDevice{"virtio-blk-pci", "blk0", "disk3", 0})
	return a
}
