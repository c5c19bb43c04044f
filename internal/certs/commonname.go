package certs

import "fmt"

// CheckNoCommonName returns an error when the first certificate of a file has a common name. A
// proxy that showed one to members would make it the user of all its clients. The text begins with
// etcd's.
func CheckNoCommonName(file string) error {
	list, err := loadCertificates(file)
	if err != nil {
		return err
	}
	if name := list[0].Subject.CommonName; name != "" {
		return fmt.Errorf("cert has non empty Common Name (%s): %s; give one without, so that clients keep their own users", name, file)
	}
	return nil
}
