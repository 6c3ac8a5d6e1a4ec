package discover

import "github.com/cpucloud/cpucloud/internal/capacity"

// declared names the members of an inventory for which the provider stated
// something other than what was read off the machine.
func declared(c Config, read capacity.Hardware, total capacity.Vector) []string {
	var names []string
	for _, m := range []struct{ name, said, read string }{
		{"hardware.cpu.manufacturer", c.Hardware.CPU.Manufacturer, read.CPU.Manufacturer},
		{"hardware.cpu.brand", c.Hardware.CPU.Brand, read.CPU.Brand},
		{"hardware.cpu.architecture", c.Hardware.CPU.Architecture, read.CPU.Architecture},
		{"hardware.cpu.generation", c.Hardware.CPU.Generation, read.CPU.Generation},
		{"hardware.memory.type", c.Hardware.Memory.Type, read.Memory.Type},
		{"hardware.memory.generation", c.Hardware.Memory.Generation, read.Memory.Generation},
		{"hardware.storage.type", c.Hardware.Storage.Type, read.Storage.Type},
	} {
		if m.said != "" && m.said != m.read {
			names = append(names, m.name)
		}
	}
	for _, m := range []struct {
		name       string
		said, read int64
	}{
		{"total.vcpu", c.Total.VCPU, total.VCPU},
		{"total.ram_gib", c.Total.RAMGiB, total.RAMGiB},
		{"total.storage_gib", c.Total.StorageGiB, total.StorageGiB},
	} {
		if m.said != 0 && m.said != m.read {
			names = append(names, m.name)
		}
	}
	return names
}
