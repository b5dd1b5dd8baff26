module orthanc-object-storage/bench

go 1.26
