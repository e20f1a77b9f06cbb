#pragma once

#include <c10/core/CPUAllocator.h>
#include <c10/util/Exception.h>

#include <cstdint>
#include <new>

namespace wan::test {

/// The CPU's memory. It refuses one chosen allocation.
class ScarceMemory final : public c10::Allocator {
 public:
  ScarceMemory() : real_(c10::GetCPUAllocator()) { c10::SetCPUAllocator(this, priority); }
  ScarceMemory(const ScarceMemory&) = delete;
  ScarceMemory& operator=(const ScarceMemory&) = delete;
  ~ScarceMemory() override { c10::SetCPUAllocator(real_, priority); }

  c10::DataPtr allocate(std::size_t bytes) override {
    const std::int64_t number = is_counting_ ? allocations_++ : -1;
    if (number >= 0 && number == refused_) refuse(bytes);
    return real_->allocate(bytes);
  }
  c10::DeleterFnPtr raw_deleter() const override { return real_->raw_deleter(); }
  void copy_data(void* to, const void* from, std::size_t bytes) const override {
    real_->copy_data(to, from, bytes);
  }

  /// Counts allocations from now on, and refuses the one with this number; -1: none.
  void begin(std::int64_t refused) {
    allocations_ = 0;
    refused_ = refused;
    is_counting_ = true;
  }
  void end() { is_counting_ = false; }
  std::int64_t allocations() const { return allocations_; }

 private:
  /// Imitates in turn the errors of GPU allocators, the host's allocator and containers.
  void refuse(std::size_t bytes) {
    switch (refusals_++ % 3) {
      case 0:
        TORCH_CHECK(false,
                    "[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory: you tried "
                    "to allocate ",
                    bytes, " bytes. Error code 12 (Cannot allocate memory)");
      case 1:
        throw std::bad_alloc();
      default:
        TORCH_CHECK_WITH(OutOfMemoryError, false, "there is no memory, says the test");
    }
  }

  static constexpr std::uint8_t priority = 100;
  c10::Allocator* real_;
  bool is_counting_ = false;
  std::int64_t allocations_ = 0;
  std::int64_t refused_ = -1;
  std::int64_t refusals_ = 0;
};

}  // namespace wan::test
